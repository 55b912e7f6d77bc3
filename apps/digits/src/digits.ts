import { readIdx } from "@loomweight/data";

/** Digits of the page: n x 28 x 28 pixels from -1 (paper) to 1 (ink), and their labels. */
export interface Digits {
  readonly pixels: Float32Array;
  readonly labels: Int32Array;
}

/** The 10,000 digits that come with the page. Throws an `Error` where they cannot be read. */
export async function fetchDigits(): Promise<Digits> {
  const read = async (name: string) => {
    const response = await fetch(new URL(`./digits/${name}.gz`, import.meta.url));
    if (!response.ok) throw new Error(`the digits cannot be read: ${response.status} for ${name}`);
    return readIdx(new Uint8Array(await response.arrayBuffer()), name);
  };
  const [images, labels] = await Promise.all([read("images-idx3"), read("labels-idx1")]);
  return {
    pixels: Float32Array.from(images.data as Uint8Array, (byte) => byte / 127.5 - 1),
    labels: Int32Array.from(labels.data as Uint8Array),
  };
}
