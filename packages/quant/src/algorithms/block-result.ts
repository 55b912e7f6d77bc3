import { allocate, cast, fromData, type Tensor } from "@loomweight/tensor";
import type { BlockQuantized } from "../blocks.ts";
import type { CheckedBlockOptions } from "../options.ts";
import { packedLength, packInto } from "../packing.ts";

/** Codes, scales and zero points of a weight [K, N], filled block by block and then packed as MatMulNBits takes them. */
export interface BlockResult {
  readonly blocks: number;
  /** Codes of column n, block b, from (n · blocks + b) · blockSize on; those beyond K stay 0. */
  readonly codes: Uint8Array;
  /** [N, blocks]. */
  readonly scales: Float32Array;
  /** [N, blocks]: whole numbers, or any where `fractional`. */
  readonly zeroPoints: Float32Array;
  finish(): BlockQuantized;
}

/** `fractional`: zero points are kept as float32 instead of being packed. */
export function createBlockResult(
  weight: Tensor,
  { bits, blockSize, symmetric }: CheckedBlockOptions,
  fractional = false,
): BlockResult {
  const [K, N] = weight.shape;
  const blocks = Math.ceil(K / blockSize);
  const codes = new Uint8Array(N * blocks * blockSize);
  const scales = allocate("float32", N * blocks);
  const zeroPoints = new Float32Array(N * blocks);
  const packedZeros = (): Tensor<"uint8"> => {
    const width = packedLength(blocks, bits);
    const whole = Uint8Array.from(zeroPoints);
    const packed = allocate("uint8", N * width);
    for (let n = 0; n < N; n++) packInto(packed, n * width, whole, n * blocks, blocks, bits, 2 ** (bits - 1));
    return fromData("uint8", packed, [N, width]);
  };
  return {
    blocks,
    codes,
    scales,
    zeroPoints,
    finish() {
      const blob = packedLength(blockSize, bits);
      const packed = allocate("uint8", N * blocks * blob);
      for (let block = 0; block < N * blocks; block++) {
        packInto(packed, block * blob, codes, block * blockSize, blockSize, bits);
      }
      const scaleTensor = fromData("float32", scales, [N, blocks]);
      return {
        bits,
        blockSize,
        symmetric,
        K,
        N,
        packed: fromData("uint8", packed, [N, blocks, blob]),
        scales: weight.dtype === "float16" ? cast(scaleTensor, "float16") : scaleTensor,
        ...(fractional
          ? { zeroPoints: fromData("float32", zeroPoints, [N, blocks]) }
          : !symmetric && { zeroPoints: packedZeros() }),
      };
    },
  };
}
