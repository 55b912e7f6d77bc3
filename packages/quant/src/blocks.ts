import { allocate, cast, fromData, type Tensor } from "@loomweight/tensor";
import { createBandCoder } from "./band-coder.ts";
import { type BlockCoder, type BlockCoderOptions, createBlockCoder, longestColumn } from "./block-coder.ts";
import { packCodes, rangeOf } from "./block-codes.ts";
import { type BlockBits, type BlockOptions, checkBlockOptions, checkWeight, nonFiniteWeight } from "./options.ts";
import { packedLength, packInto } from "./packing.ts";
import { isCodedDType } from "./panels.ts";
import { clamp, roundToFloat16 } from "./rounding.ts";
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
  /** uint8 packed [N, ⌈blocks · bits / 8⌉], unused slots 2^(bits − 1); or unrounded floats [N, blocks]. */
  readonly zeroPoints?: Tensor<"uint8"> | Tensor<"float32"> | Tensor<"float16">;
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
  if (fitsCoder(K, blockSize)) return quantizeWithCoder(weight, { bits, blockSize, symmetric, name }).quantized;
  const blocks = Math.ceil(K / blockSize);
  const blob = packedLength(blockSize, bits);
  const packed = allocate("uint8", N * blocks * blob);
  const scales = allocate("float32", N * blocks);
  const zeroBytes = packedLength(blocks, bits);
  const zeroPoints = symmetric ? undefined : allocate("uint8", N * zeroBytes);
  const zeroCodes = new Uint8Array(blocks);
  const round = weight.dtype === "float16" ? roundToFloat16 : Math.fround;
  const half = 2 ** (bits - 1);
  const top = 2 * half - 1;
  const range = new Float64Array(2);
  visitColumns(weight, (first, count, values) => {
    for (let column = 0; column < count; column++) {
      const n = first + column;
      const start = column * K;
      for (let block = 0; block < blocks; block++) {
        const from = start + block * blockSize;
        const to = Math.min(from + blockSize, start + K);
        if (!rangeOf(range, values, from, to)) throw nonFiniteWeight(name, `in column ${n} of [K, N]`);
        const low = range[0];
        const high = range[1];
        let zero = half;
        let scale: number;
        if (symmetric) scale = round((high > -low ? high : low) / -half);
        else {
          const step = Math.fround(Math.fround(high - low) / top);
          scale = round(step); // float16 scales: the zero point comes from the unrounded step
          const exact = step === 0 ? 0 : Math.floor(Math.fround(Math.fround(-low / step) + 0.5));
          zero = clamp(exact, 0, top);
          zeroCodes[block] = zero;
        }
        scales[n * blocks + block] = scale;
        const inverse = scale === 0 ? 0 : Math.fround(1 / scale);
        packCodes(packed, (n * blocks + block) * blob, values, from, to, inverse, zero + 0.5, bits);
      }
      if (zeroPoints) packInto(zeroPoints, n * zeroBytes, zeroCodes, 0, blocks, bits, half);
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

/** Whether the kernels take such blocks: of the sizes that MatMulNBits has, in columns of at most a few million. */
export function fitsCoder(K: number, blockSize: number): boolean {
  return blockSize % 16 === 0 && blockSize <= 256 && 4 * K <= longestColumn;
}

/** `quantizeBlocks` where `fitsCoder` holds, measured on the way if asked for. */
export function quantizeWithCoder(
  weight: Tensor,
  settings: Pick<BlockCoderOptions, "bits" | "blockSize" | "symmetric" | "name" | "measured">,
): ReturnType<BlockCoder["finish"]> {
  checkWeight(weight, settings.name, 2);
  const { dtype, stride, offset, data } = weight;
  const [K, N] = weight.shape;
  const options = { ...settings, K, N, scales: dtype === "float16" ? "float16" : "float32" } as const;
  if (isCodedDType(dtype) && stride[0] === 1 && (stride[1] === K || N === 1)) {
    const { buffer, byteOffset, BYTES_PER_ELEMENT: size } = data as Float32Array;
    const coder = createBlockCoder({ ...options, dtype });
    coder.add(new Uint8Array(buffer, byteOffset + offset * size, K * N * size));
    return coder.finish();
  }
  const coder = createBlockCoder({ ...options, dtype: "float32" });
  visitColumns(weight, (_first, _count, values) =>
    coder.add(new Uint8Array(values.buffer, values.byteOffset, values.byteLength)),
  );
  return coder.finish();
}

/**
 * Codes a weight [K, N] whose columns, or rows, come one after another as codes of `dtype` (see `quantizeBlocks`):
 * neither the weight nor a transpose of it is ever in memory. The options are those of `createBlockCoder`; `fitsCoder`
 * must hold.
 */
export async function quantizeStream(
  parts: AsyncIterable<Uint8Array>,
  order: "columns" | "rows",
  options: BlockCoderOptions,
): Promise<ReturnType<BlockCoder["finish"]>> {
  const coder = order === "columns" ? createBlockCoder(options) : createBandCoder(options);
  for await (const bytes of parts) coder.add(bytes);
  return coder.finish();
}
