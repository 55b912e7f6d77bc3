import { allocate, type Tensor } from "@loomweight/tensor";
import type { BlockQuantized } from "./blocks.ts";
import { float32Values } from "./float32-values.ts";
import { codeAt } from "./packing.ts";

/**
 * The weight that the codes stand for: float32 [K, N], a transposed view of rows [N, K].
 * W[k, n] = (code − zero point) · scale in float32, as MatMulNBits computes it.
 */
export function dequantizeBlocks(quantized: BlockQuantized): Tensor<"float32"> {
  const { K, N } = quantized;
  const data = allocate("float32", K * N);
  dequantizeColumnsInto(data, quantized, 0, N);
  return { dtype: "float32", data, shape: [K, N], stride: [1, K], offset: 0 };
}

/** Writes columns [first, first + count) as rows [count, K] into `out`. */
export function dequantizeColumnsInto(
  out: Float32Array,
  quantized: BlockQuantized,
  first: number,
  count: number,
): void {
  const { K, bits, blockSize, packed } = quantized;
  const [, blocks, blob] = packed.shape;
  const scales = float32Values(quantized.scales);
  const zeroPointOf = zeroPoints(quantized, blocks);
  for (let row = 0; row < count; row++) {
    const n = first + row;
    for (let block = 0; block < blocks; block++) {
      const from = block * blockSize;
      const to = Math.min(from + blockSize, K);
      const scale = scales[n * blocks + block];
      const zero = zeroPointOf(n, block);
      const position = (n * blocks + block) * blob;
      for (let k = from; k < to; k++) {
        out[row * K + k] = Math.fround(codeAt(packed.data, position, k - from, bits) - zero) * scale;
      }
    }
  }
}

function zeroPoints({ zeroPoints: given, bits }: BlockQuantized, blocks: number): (n: number, block: number) => number {
  if (given === undefined) return () => 2 ** (bits - 1);
  if (given.dtype !== "uint8") {
    const values = float32Values(given);
    return (n, block) => values[n * blocks + block];
  }
  const bytes = given.data as Uint8Array;
  const width = given.shape[1];
  return (n, block) => codeAt(bytes, n * width, block, bits);
}
