import { add, cast, conv, reshape, transpose, unsqueeze, type Value } from "@loomweight/graph";
import type { ConfigReader } from "../config-reader.ts";
import { filled } from "./columns.ts";
import { inside, type Module, weight } from "./module.ts";

export interface PatchOptions {
  readonly channels: number;
  readonly patch: ImageSize;
  readonly hiddenSize: number;
  /** Whether the convolution has a bias; default true. */
  readonly bias?: boolean;
}

export type ImageSize = readonly [height: number, width: number];

/** Cuts images [batch, channels, height, width] into patches: [batch, patches, hidden], row by row. Convolution `name`. */
export function patchEmbedding(parent: Module, name: string, pixels: Value, options: PatchOptions): Value {
  return transpose(reshape(patchGridEmbedding(parent, name, pixels, options), [0, 0, -1]), [0, 2, 1]);
}

/** The same before the patches are put in a row: [batch, hidden, rows, columns]. */
export function patchGridEmbedding(parent: Module, name: string, pixels: Value, options: PatchOptions): Value {
  const { channels, patch, hiddenSize, bias = true } = options;
  return inside(parent, name, (module) => {
    const kernel = weight(module, "weight", [hiddenSize, channels, ...patch]);
    return conv(pixels, kernel, bias ? weight(module, "bias", [hiddenSize]) : undefined, { strides: patch });
  });
}

/** Patches of an image; whatever a patch does not fill at the right and below is left out. */
export function patchGrid(image: ImageSize, patch: ImageSize): ImageSize {
  return [Math.floor(image[0] / patch[0]), Math.floor(image[1] / patch[1])];
}

/** A learned token [1, 1, hidden] for each image of `pixels` [batch, …]: [batch, 1, hidden]. */
export function tokenPerImage(module: Module, name: string, pixels: Value, hiddenSize: number): Value {
  return perRow(weight(module, name, [1, 1, hiddenSize]), pixels);
}

/** A token [1, 1, hidden] for each row of the float tensor `x` [batch, …]: [batch, 1, hidden]. */
export function perRow(token: Value, x: Value): Value {
  return add(token, cast(unsqueeze(filled(x, 0, 0), [1, 2]), token.dtype));
}

/** Image and patch size; throws `INVALID_CONFIG` when no patch fits the image. */
export function readImageAndPatch(
  config: ConfigReader,
  defaults: { readonly image: number; readonly patch: number },
): { image: ImageSize; patch: ImageSize } {
  const image = readImageSize(config, "image_size", defaults.image);
  const patch = readImageSize(config, "patch_size", defaults.patch);
  if (patch[0] > image[0] || patch[1] > image[1])
    throw config.refuse("patch_size", `at most the image (${image.join(" x ")})`);
  return { image, patch };
}

/** A size of an image or patch: one number for a square, or [height, width]. */
export function readImageSize(config: ConfigReader, field: string, initial: number): ImageSize {
  const found = config.value(field) ?? initial;
  const pair = Array.isArray(found) ? found : [found, found];
  if (pair.length === 2 && pair.every((size) => Number.isSafeInteger(size) && size >= 1 && size <= 65536)) {
    return [pair[0], pair[1]];
  }
  throw config.refuse(field, "a whole number from 1 to 65536, or two of them (height, width)");
}
