import type { Tensor } from "@loomweight/tensor";
import { float32Values } from "./float32-values.ts";

/** Floats of one panel: 256 KB, within a core's second-level cache. */
const panelElements = 65536;

/**
 * Hands the columns of a weight [K, N] to `visit` as float32 rows [count, K], in order, without materialising a
 * transpose: a weight stored [N, K] (a transposed view) is read in place, another is gathered a panel at a time.
 * `values` is valid during the call only. float64 is rounded to float32; narrower floats are exact.
 */
export function visitColumns(
  weight: Tensor,
  visit: (first: number, count: number, values: Float32Array) => void,
): void {
  const [K, N] = weight.shape;
  const [stepK, stepN] = weight.stride;
  const stored = stepK === 1 && (stepN === K || N === 1);
  if (stored && weight.dtype === "float32") {
    visit(0, N, (weight.data as Float32Array).subarray(weight.offset, weight.offset + K * N));
    return;
  }
  const columns = Math.max(1, Math.min(N, Math.floor(panelElements / K)));
  const turned = weight.dtype === "float32" ? new Float32Array(columns * K) : undefined;
  for (let first = 0; first < N; first += columns) {
    const count = Math.min(columns, N - first);
    if (turned) {
      turnInto(turned, weight as Tensor<"float32">, first, count);
      visit(first, count, turned.subarray(0, count * K));
      continue;
    }
    const panel: Tensor = {
      dtype: weight.dtype,
      data: weight.data,
      shape: [count, K],
      stride: [stepN, stepK],
      offset: weight.offset + first * stepN,
    };
    visit(first, count, float32Values(panel));
  }
}

/** out[column − first][k] = weight[k, column], in blocks that stay in the cache. */
function turnInto(out: Float32Array, weight: Tensor<"float32">, first: number, count: number): void {
  const { data, shape, stride, offset } = weight;
  const [K] = shape;
  const [stepK, stepN] = stride;
  const block = 32;
  for (let top = 0; top < K; top += block) {
    const bottom = Math.min(K, top + block);
    for (let column = 0; column < count; column++) {
      let from = offset + top * stepK + (first + column) * stepN;
      for (let k = top; k < bottom; k++, from += stepK) out[column * K + k] = data[from];
    }
  }
}
