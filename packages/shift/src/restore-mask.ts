import { elementCount, fromData, type Random, type Tensor } from "@loomweight/tensor";

/** float32 of `shape`, each element 1 with probability `probability`, else 0. */
export function restoreMask(shape: readonly number[], probability: number, random: Random): Tensor {
  const words = new Uint32Array(elementCount(shape));
  random.uint32sInto(words);
  const threshold = probability * 2 ** 32;
  const mask = new Float32Array(words.length);
  for (let i = 0; i < words.length; i++) mask[i] = words[i] < threshold ? 1 : 0;
  return fromData("float32", mask, shape);
}
