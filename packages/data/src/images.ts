import { fromData, LoomweightError, type Tensor } from "@loomweight/tensor";

/** Pixels as decoders give them: row by row, channels side by side, 0 … 255. */
export interface DecodedImage {
  readonly width: number;
  readonly height: number;
  /** 1 (grey), 3 (RGB) or 4 (RGBA; the last is dropped). */
  readonly channels: number;
  readonly data: Uint8Array | Uint8ClampedArray;
}

export interface ImageTensorOptions {
  /** Per channel, taken from values scaled to 0 … 1; default 0. */
  readonly mean?: readonly number[];
  /** Per channel; default 1. */
  readonly deviation?: readonly number[];
}

/**
 * Images of one size as a batch, float32 [images, channels, height, width]: pixel / 255, less the mean, over the
 * deviation. Throws `SHAPE_MISMATCH`.
 */
export function imageBatch(images: readonly DecodedImage[], options: ImageTensorOptions = {}): Tensor<"float32"> {
  const { width, height, channels } = images[0] ?? { width: 0, height: 0, channels: 0 };
  const kept = channels === 4 ? 3 : channels;
  const { mean = Array(kept).fill(0), deviation = Array(kept).fill(1) } = options;
  if (mean.length !== kept || deviation.length !== kept) {
    throw mismatch(
      "mean and deviation are not of the images' channels",
      `${kept}`,
      `${mean.length} and ${deviation.length}`,
    );
  }
  const plane = width * height;
  const out = new Float32Array(images.length * kept * plane);
  for (const [index, image] of images.entries()) {
    const same = image.width === width && image.height === height && image.channels === channels;
    if (!same || image.data.length !== plane * channels) {
      throw mismatch(
        `image ${index} is not of the first one's size`,
        `${width} x ${height} x ${channels}`,
        `${image.width} x ${image.height} x ${image.channels}, ${image.data.length} bytes`,
      );
    }
    for (let channel = 0; channel < kept; channel++) {
      const at = (index * kept + channel) * plane;
      for (let pixel = 0; pixel < plane; pixel++) {
        out[at + pixel] = (image.data[pixel * channels + channel] / 255 - mean[channel]) / deviation[channel];
      }
    }
  }
  return fromData("float32", out, [images.length, kept, height, width]);
}

function mismatch(problem: string, expected: string, found: string): LoomweightError {
  return new LoomweightError({ code: "SHAPE_MISMATCH", problem, expected, found });
}
