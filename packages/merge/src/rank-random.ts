import { createRandom } from "@loomweight/kernels";
import { LoomweightError } from "@loomweight/tensor";
import { elementwise, type LazyTensor, scale } from "./lazy/lazy-tensor.ts";
import { streamRows } from "./lazy/reduce.ts";
import type { MaskKey } from "./sparsify.ts";

/**
 * Keeps entries with a probability that grows with their magnitude: within each row (vectors along axis 1; a 1-D tensor
 * is one row) entries are ranked ascending by magnitude, ties by position, and kept with probability
 * density − epsilon (smallest) to density + epsilon (largest), linear in the rank. Deep et al. 2024, arXiv:2406.11617.
 *
 * Which entries are kept is noted in one bit each while rows are ranked. Throws `INVALID_OPTION` unless both ends of
 * the range lie strictly between 0 and 1.
 */
export async function keepRandomByRank(
  tensor: LazyTensor,
  { density, epsilon }: { density: number; epsilon: number },
  key: MaskKey,
): Promise<LazyTensor> {
  if (density >= 1 || tensor.size === 0) return tensor;
  if (density <= 0) return scale(tensor, 0);
  if (density - epsilon <= 0 || density + epsilon >= 1) {
    throw new LoomweightError({
      code: "INVALID_OPTION",
      problem: "density − epsilon and density + epsilon must lie strictly between 0 and 1",
      tensor: key.tensor,
      option: "epsilon",
      expected: `less than ${Math.min(density, 1 - density)}`,
      found: String(epsilon),
    });
  }
  const kept = new Uint8Array(Math.ceil(tensor.size / 8));
  const { shape, size } = tensor;
  // Vectors along axis 1: `rowLength` entries, `inner` apart; `inner` of them lie interleaved in a slice.
  const rowLength = shape.length > 1 ? shape[1] : size;
  const inner = shape.slice(2).reduce((product, length) => product * length, 1);
  const random = createRandom(key.seed, `mask/${key.tensor}/${key.model}`);
  const ranker = createRanker(rowLength);
  const slice = new Float64Array(rowLength * inner);
  const words = new Uint32Array(slice.length);
  const step = rowLength === 1 ? 0 : (2 * epsilon) / (rowLength - 1);
  const lowest = rowLength === 1 ? density : density - epsilon;
  await streamRows([tensor], slice.length, ([piece], index, column) => {
    slice.set(piece, column);
    if (column + piece.length < slice.length) return;
    const start = index * slice.length;
    random.uint32sInto(words, { start });
    for (let lane = 0; lane < inner; lane++) {
      const order = ranker(slice, lane, inner);
      for (let rank = 0; rank < rowLength; rank++) {
        const place = order[rank] * inner + lane;
        if (words[place] < (lowest + step * rank) * 2 ** 32)
          kept[Math.floor((start + place) / 8)] |= 1 << ((start + place) & 7);
      }
    }
  });
  return elementwise([tensor], (_, out, [values], start) => {
    for (let i = 0; i < out.length; i++) {
      const at = start + i;
      out[i] = (kept[Math.floor(at / 8)] >> (at & 7)) & 1 ? values[i] : values[i] * 0;
    }
  });
}

/**
 * Orders a row ascending by magnitude, ties by position: a radix sort of float32 magnitudes in three passes of 11 bits.
 * Magnitudes that agree to float32 count as equal.
 */
function createRanker(length: number): (slice: Float64Array, lane: number, inner: number) => Uint32Array {
  const keys = new Float32Array(length);
  const bits = new Uint32Array(keys.buffer);
  let order = new Uint32Array(length);
  let other = new Uint32Array(length);
  const counts = new Uint32Array(2048);
  return (slice, lane, inner) => {
    for (let i = 0; i < length; i++) {
      keys[i] = Math.abs(slice[i * inner + lane]);
      order[i] = i;
    }
    for (let shift = 0; shift < 32; shift += 11) {
      counts.fill(0);
      for (let i = 0; i < length; i++) counts[(bits[i] >>> shift) & 2047]++;
      let total = 0;
      for (let digit = 0; digit < 2048; digit++) {
        const count = counts[digit];
        counts[digit] = total;
        total += count;
      }
      for (let i = 0; i < length; i++) {
        const index = order[i];
        other[counts[(bits[index] >>> shift) & 2047]++] = index;
      }
      [order, other] = [other, order];
    }
    return order;
  };
}
