import type { Tensor } from "@loomweight/tensor";
import { checkWeight, nonFiniteWeight } from "../options.ts";
import { visitColumns } from "../weight-columns.ts";

/**
 * Hands every block of a weight [K, N] to `visit`, column by column: `index` = n · blocks + b, `values` of length
 * `blockSize`, filled with zeros beyond K (`count` are real). Throws `NON_FINITE_WEIGHT` and what `checkWeight` throws.
 */
export function eachBlock(
  weight: Tensor,
  blockSize: number,
  name: string,
  visit: (index: number, values: Float32Array, count: number) => void,
): void {
  checkWeight(weight, name, 2);
  const [K] = weight.shape;
  const blocks = Math.ceil(K / blockSize);
  const values = new Float32Array(blockSize);
  visitColumns(weight, (first, columns, panel) => {
    for (let column = 0; column < columns; column++) {
      for (let block = 0; block < blocks; block++) {
        const from = column * K + block * blockSize;
        const count = Math.min(blockSize, K - block * blockSize);
        values.set(panel.subarray(from, from + count));
        values.fill(0, count);
        for (let i = 0; i < count; i++) {
          if (!Number.isFinite(values[i])) throw nonFiniteWeight(name, `in column ${first + column} of [K, N]`);
        }
        visit((first + column) * blocks + block, values, count);
      }
    }
  });
}
