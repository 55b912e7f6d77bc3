import { conv, reshape, transpose, type Value } from "@loomweight/graph";
import type { ConfigReader } from "../config-reader.ts";
import { inside, type Module, weight } from "./module.ts";

export interface PatchOptions {
  readonly channels: number;
  readonly patch: ImageSize;
  readonly hiddenSize: number;
}

export type ImageSize = readonly [height: number, width: number];

/** Cuts images [batch, channels, height, width] into patches: [batch, patches, hidden], row by row. Convolution `name`. */
export function patchEmbedding(parent: Module, name: string, pixels: Value, options: PatchOptions): Value {
  const { channels, patch, hiddenSize } = options;
  return inside(parent, name, (module) => {
    const kernel = weight(module, "weight", [hiddenSize, channels, ...patch]);
    const grid = conv(pixels, kernel, weight(module, "bias", [hiddenSize]), { strides: patch });
    return transpose(reshape(grid, [0, 0, -1]), [0, 2, 1]);
  });
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
