import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Dataset, gunzip, readIdx, sliceSamples } from "@loomweight/data";
import { fromData, type Tensor } from "@loomweight/tensor";

/** Files that come with the repository; see fixtures/data/README.md for where they are from. */
const folder = fileURLToPath(new URL("../fixtures/data", import.meta.url));

/** 8,000 digits to train on and 2,000 to test: pixels [n, 1, 28, 28] from -1 to 1, labels int32 [n]. */
export async function readDigits(): Promise<{ train: Dataset; test: Dataset }> {
  const read = async (name: string) => readIdx(await readFile(join(folder, `mnist-t10k-${name}-ubyte.gz`)), name);
  const [images, labels] = [await read("images-idx3"), await read("labels-idx1")];
  const pixels = Float32Array.from(images.data as Uint8Array, (byte) => byte / 127.5 - 1);
  const all = {
    pixels: fromData("float32", pixels, [10000, 1, 28, 28]) as Tensor,
    labels: fromData("int32", Int32Array.from(labels.data as Uint8Array), [10000]) as Tensor,
  };
  return { train: sliceSamples(all, 0, 8000), test: sliceSamples(all, 8000) };
}

/** The first part of Shakespeare's plays, as characters: their numbers, and the character of each number. */
export async function readPlays(): Promise<{ codes: Int32Array; characters: string }> {
  const bytes = await gunzip(await readFile(join(folder, "tinyshakespeare.txt.gz")));
  const text = new TextDecoder().decode(bytes);
  const characters = [...new Set(text)].sort().join("");
  const code = new Map([...characters].map((character, index) => [character, index]));
  return { codes: Int32Array.from(text, (character) => code.get(character) ?? 0), characters };
}
