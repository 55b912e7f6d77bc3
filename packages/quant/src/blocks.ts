import { allocate, cast, fromData, type Tensor } from "@loomweight/tensor";
import { type BlockBits, type BlockOptions, checkBlockOptions, checkWeight, nonFiniteWeight } from "./options.ts";
import { packedLength, packInto } from "./packing.ts";
import { roundToFloat16 } from "./rounding.ts";
import { visitColumns } from "./weight-columns.ts";

/** A weight [K, N] in blocks along K, laid out as MatMulNBits takes it. W[k, n] = (code − zero point) · scale. */
export interface BlockQuantized {
  readonly bits: BlockBits;
  readonly blockSize: number;
  /** Without zero points: every code's offset is 2^(bits − 1). */
  readonly symmetric: boolean;
  readonly K: number;
  readonly N: number;
  /** uint8 [N, blocks, blockSize · bits / 8], lowest bits first; codes beyond K are 0. */
  readonly packed: Tensor<"uint8">;
  /** [N, blocks], float32 (float16 for float16 weights). */
  readonly scales: Tensor<"float32"> | Tensor<"float16">;
  /** uint8 packed [N, ⌈blocks · bits / 8⌉], unused slots 2^(bits − 1); or unrounded float32 [N, blocks]. */
  readonly zeroPoints?: Tensor<"uint8"> | Tensor<"float32">;
}

/**
 * Codes a weight [K, N] (float32, float16, bfloat16 or float64; any strides, so a transposed [N, K] is read in place)
 * in blocks along K, bit-equal to onnxruntime's kernels: all arithmetic in float32.
 *
 * Symmetric: scale = m / −2^(bits−1), m the signed entry of largest magnitude (the negative one of equals).
 * Asymmetric: the range, widened to hold 0, over 2^bits − 1 steps. code = clamp(⌊w · (1 / scale) + offset + ½⌋).
 *
 * @param options bits (4), blockSize (32), symmetric (true)
 * @throws `INVALID_OPTION`, `UNSUPPORTED_DTYPE`, `SHAPE_MISMATCH`, `NON_FINITE_WEIGHT` naming `name`
 * Source: onnxruntime MatMulNBits quantizer, default algorithm (1.30).
 */
export function quantizeBlocks(weight: Tensor, options: BlockOptions = {}, name = "weight"): BlockQuantized {
  const { bits, blockSize, symmetric } = checkBlockOptions(options, "quantizeBlocks");
  return quantizeAnyBlocks(weight, bits, blockSize, symmetric, name);
}

/** `quantizeBlocks` for any block size (channel-wise QDQ takes K). */
export function quantizeAnyBlocks(
  weight: Tensor,
  bits: BlockBits,
  blockSize: number,
  symmetric: boolean,
  name: string,
): BlockQuantized {
  checkWeight(weight, name, 2);
  const [K, N] = weight.shape;
  const blocks = Math.ceil(K / blockSize);
  const blob = packedLength(blockSize, bits);
  const packed = allocate("uint8", N * blocks * blob);
  const scales = allocate("float32", N * blocks);
  const zeroBytes = packedLength(blocks, bits);
  const zeroPoints = symmetric ? undefined : allocate("uint8", N * zeroBytes);
  const zeroCodes = new Uint8Array(blocks);
  const codes = new Uint8Array(K);
  const round = weight.dtype === "float16" ? roundToFloat16 : Math.fround;
  const codeColumn = symmetric ? codeSymmetric : codeAsymmetric;
  visitColumns(weight, (first, count, values) => {
    for (let column = 0; column < count; column++) {
      const n = first + column;
      const start = column * K;
      if (!codeColumn(values, start, K, blockSize, bits, codes, scales, n * blocks, zeroCodes, round)) {
        throw nonFiniteWeight(name, `in column ${n} of [K, N]`);
      }
      for (let block = 0; block < blocks; block++) {
        const from = block * blockSize;
        packInto(packed, (n * blocks + block) * blob, codes, from, Math.min(blockSize, K - from), bits);
      }
      if (zeroPoints) packInto(zeroPoints, n * zeroBytes, zeroCodes, 0, blocks, bits, 2 ** (bits - 1));
    }
  });
  const scaleTensor = fromData("float32", scales, [N, blocks]);
  return {
    bits,
    blockSize,
    symmetric,
    K,
    N,
    packed: fromData("uint8", packed, [N, blocks, blob]),
    scales: weight.dtype === "float16" ? cast(scaleTensor, "float16") : scaleTensor,
    ...(zeroPoints && { zeroPoints: fromData("uint8", zeroPoints, [N, zeroBytes]) }),
  };
}

/** Codes one column, values [start, start + K); false when it holds NaN or infinity. */
type CodeColumn = (
  values: Float32Array,
  start: number,
  K: number,
  blockSize: number,
  bits: number,
  codes: Uint8Array,
  scales: Float32Array,
  firstScale: number,
  zeroCodes: Uint8Array,
  round: (scale: number) => number,
) => boolean;

const codeSymmetric: CodeColumn = (values, start, K, blockSize, bits, codes, scales, firstScale, _, round) => {
  const half = 2 ** (bits - 1);
  const top = 2 * half - 1;
  const offset = half + 0.5;
  for (let from = 0, block = firstScale; from < K; from += blockSize, block++) {
    const to = Math.min(from + blockSize, K);
    let low = 0;
    let high = 0;
    let check = 0;
    for (let k = from; k < to; k++) {
      const w = values[start + k];
      if (w < low) low = w;
      if (w > high) high = w;
      check += w - w; // NaN as soon as one value is not finite
    }
    if (check !== 0) return false;
    const scale = round((high > -low ? high : low) / -half);
    const inverse = scale === 0 ? 0 : Math.fround(1 / scale);
    scales[block] = scale;
    for (let k = from; k < to; k++) {
      const code = Math.fround(Math.fround(values[start + k] * inverse) + offset);
      codes[k] = code > 0 ? Math.min(code, top) : 0; // storing cuts the fraction off
    }
    if (Math.abs(inverse) > largestFloat) codeZeros(values, start, from, to, codes, half);
  }
  return true;
};

const codeAsymmetric: CodeColumn = (values, start, K, blockSize, bits, codes, scales, firstScale, zeroCodes, round) => {
  const top = 2 ** bits - 1;
  for (let from = 0, block = 0; from < K; from += blockSize, block++) {
    const to = Math.min(from + blockSize, K);
    let low = 0;
    let high = 0;
    let check = 0;
    for (let k = from; k < to; k++) {
      const w = values[start + k];
      if (w < low) low = w;
      if (w > high) high = w;
      check += w - w; // NaN as soon as one value is not finite
    }
    if (check !== 0) return false;
    const step = Math.fround(Math.fround(high - low) / top);
    const scale = round(step); // float16 scales: the zero point comes from the unrounded step
    const inverse = scale === 0 ? 0 : Math.fround(1 / scale);
    const zero = step === 0 ? 0 : Math.floor(Math.fround(Math.fround(-low / step) + 0.5));
    const zeroCode = zero > 0 ? Math.min(zero, top) : 0;
    scales[firstScale + block] = scale;
    zeroCodes[block] = zeroCode;
    const offset = zeroCode + 0.5;
    for (let k = from; k < to; k++) {
      const code = Math.fround(Math.fround(values[start + k] * inverse) + offset);
      codes[k] = code > 0 ? Math.min(code, top) : 0;
    }
    if (inverse > largestFloat) codeZeros(values, start, from, to, codes, zeroCode);
  }
  return true;
};

const largestFloat = 3.4028234663852886e38;

/** Where a scale is so small that its inverse is infinite, 0 · ∞ has no code: zeros get theirs here. */
function codeZeros(
  values: Float32Array,
  start: number,
  from: number,
  to: number,
  codes: Uint8Array,
  zero: number,
): void {
  for (let k = from; k < to; k++) if (values[start + k] === 0) codes[k] = zero;
}
