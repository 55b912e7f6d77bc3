import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { LoomweightError } from "@loomweight/tensor";
import type { DecodedImage } from "../images.ts";

/** An image of a folder and its class. */
export interface ImageEntry {
  readonly path: string;
  /** Index into `classes`. */
  readonly label: number;
}

export interface ImageFolder {
  /** Names of the folders, sorted. */
  readonly classes: readonly string[];
  /** Sorted by class and name. */
  readonly images: readonly ImageEntry[];
}

const extensions = /\.(png|jpe?g|webp|gif|avif|tiff?|svg)$/i;

/** A folder with one folder of images for each class, as image classification is commonly laid out. Throws `EMPTY_FOLDER`. */
export async function openImageFolder(path: string): Promise<ImageFolder> {
  const entries = await readdir(path, { withFileTypes: true });
  const classes = entries.filter((entry) => entry.isDirectory() && !entry.name.startsWith(".")).map(({ name }) => name);
  classes.sort();
  const images: ImageEntry[] = [];
  for (const [label, name] of classes.entries()) {
    const files = (await readdir(join(path, name))).filter((file) => extensions.test(file)).sort();
    images.push(...files.map((file) => ({ path: join(path, name, file), label })));
  }
  if (images.length > 0) return { classes, images };
  throw new LoomweightError({
    code: "EMPTY_FOLDER",
    problem: "there are no images here",
    file: path,
    expected: "one folder for each class with PNG, JPEG, WebP, GIF, AVIF, TIFF or SVG files",
    found: classes.length === 0 ? "no folders" : `folders ${classes.slice(0, 5).join(", ")} without images`,
  });
}

export interface DecodeOptions {
  readonly width: number;
  readonly height: number;
  /** `cover` (default): scaled to fill, the middle kept; `fill`: stretched. */
  readonly fit?: "cover" | "fill";
  /** Default "cubic". */
  readonly kernel?: "nearest" | "linear" | "cubic" | "lanczos3";
  /** 1 makes it grey; default 3. */
  readonly channels?: 1 | 3;
}

/**
 * Decodes an image file (or its bytes) at a size, through sharp, an optional peer dependency. Orientation recorded in
 * the file is applied, transparency is put on white. Throws `DECODER_MISSING` with the install line, `INVALID_FILE`.
 */
export async function decodeImage(image: string | Uint8Array, options: DecodeOptions): Promise<DecodedImage> {
  const { width, height, fit = "cover", kernel = "cubic", channels = 3 } = options;
  const sharp = await loadSharp();
  try {
    let pipeline = sharp(image, { limitInputPixels: 2 ** 28 })
      .rotate()
      .flatten({ background: "#ffffff" })
      .resize({ width, height, fit, kernel });
    pipeline = channels === 1 ? pipeline.greyscale() : pipeline.toColourspace("srgb");
    const { data, info } = await pipeline.raw().toBuffer({ resolveWithObject: true });
    return { width: info.width, height: info.height, channels: info.channels, data };
  } catch (cause) {
    throw new LoomweightError({
      code: "INVALID_FILE",
      problem: "the image cannot be decoded",
      file: typeof image === "string" ? image : undefined,
      found: cause instanceof Error ? cause.message : String(cause),
      cause,
    });
  }
}

async function loadSharp() {
  try {
    return (await import("sharp")).default;
  } catch (cause) {
    throw new LoomweightError({
      code: "DECODER_MISSING",
      problem: "decoding images needs sharp, which does not load",
      found: cause instanceof Error ? cause.message.split("\n")[0] : String(cause),
      fix: "Install it: npm install sharp",
      cause,
    });
  }
}
