import type { CodedDType } from "@loomweight/kernels";
import { allocate, cast, fromData, type Tensor } from "@loomweight/tensor";
import { fitsCoder, quantizeAnyBlocks } from "./blocks.ts";
import { createByteBlockCoder } from "./byte-block-coder.ts";
import { float32Values } from "./float32-values.ts";
import { checkBlockSize, checkWeight } from "./options.ts";
import { codeAt } from "./packing.ts";
import { plainCodes } from "./panels.ts";
import { clamp, roundHalfAwayFromZero } from "./rounding.ts";
import { visitColumns } from "./weight-columns.ts";

/** Inputs of a block-wise `DequantizeLinear` (opset 21). */
export interface QdqBlocks {
  /** int4 (symmetric, −8..7) or uint4 codes, [K, N]; [N, K] where `transposed`. */
  readonly data: Tensor<"int4"> | Tensor<"uint4">;
  /** float32 [blocks, N]; [N, blocks] where `transposed`. */
  readonly scales: Tensor<"float32"> | Tensor<"float16">;
  /** uint4 [blocks, N]. */
  readonly zeroPoints?: Tensor<"uint4">;
  /** The `axis` attribute: 0, or 1 where `transposed`. */
  readonly axis: 0 | 1;
  readonly blockSize: number;
  /** The codes are those of the transposed weight: a Transpose has to follow. */
  readonly transposed: boolean;
}

/** Options of `quantizeQdqBlocks`. */
export interface QdqOptions {
  /** 16, 32, 64, 128 or 256; default 32. Ignored with `channelWise`. */
  readonly blockSize?: number;
  /** Default true. */
  readonly symmetric?: boolean;
  /** One block a column. Symmetric codes are then stored transposed, as the tool does. Default false. */
  readonly channelWise?: boolean;
}

/**
 * Codes a weight [K, N] in 4 bits for `DequantizeLinear(axis, block_size)` followed by MatMul, in ONNX's row-major
 * layout. Scales and zero points are those of `quantizeBlocks`; here a code is rounded half away from zero BEFORE its
 * zero point is added.
 * @throws as `quantizeBlocks`
 */
export function quantizeQdqBlocks(weight: Tensor, options: QdqOptions = {}, name = "weight"): QdqBlocks {
  const { blockSize = 32, symmetric = true, channelWise = false } = options;
  if (!channelWise) checkBlockSize(blockSize, "quantizeQdqBlocks");
  checkWeight(weight, name, 2);
  const [K, N] = weight.shape;
  const size = channelWise ? K : blockSize;
  const transposed = channelWise && symmetric;
  if (!channelWise && fitsCoder(K, blockSize)) {
    return quantizeQdqWithCoder(weight, { blockSize, symmetric, name, measured: false }).quantized;
  }
  const quantized = quantizeAnyBlocks(weight, 4, size, symmetric, name);
  const blocks = quantized.packed.shape[1];
  const zeros = quantized.zeroPoints && zeroCodes(quantized.zeroPoints as Tensor<"uint8">, blocks, N);
  const shape = transposed ? [N, K] : [K, N];
  const data = symmetric ? allocate("int4", K * N) : allocate("uint4", K * N);
  const scales = float32Values(quantized.scales);
  const [low, high] = symmetric ? [-8, 7] : [0, 15];
  const [stepK, stepN] = transposed ? [1, K] : [N, 1];
  visitColumns(weight, (first, count, values) => {
    for (let column = 0; column < count; column++) {
      const n = first + column;
      for (let block = 0; block < blocks; block++) {
        const scale = scales[n * blocks + block];
        const inverse = scale === 0 ? 0 : Math.fround(1 / scale);
        const zero = zeros ? zeros.data[block * N + n] : 0;
        const to = Math.min(block * size + size, K);
        for (let k = block * size; k < to; k++) {
          const steps = roundHalfAwayFromZero(Math.fround(values[column * K + k] * inverse));
          data[k * stepK + n * stepN] = clamp(steps + zero, low, high);
        }
      }
    }
  });
  return {
    data: symmetric ? fromData("int4", data as Int8Array, shape) : fromData("uint4", data as Uint8Array, shape),
    scales: transposed ? quantized.scales : transposedCopy(quantized.scales, blocks, N),
    ...(zeros && { zeroPoints: zeros }),
    axis: transposed ? 1 : 0,
    blockSize: size,
    transposed,
  };
}

interface QdqCoderSettings {
  readonly blockSize: number;
  readonly symmetric: boolean;
  readonly name: string;
  readonly measured: boolean;
}

/** What coding in blocks gives, and how far it is from the weight where that was measured. */
export interface MeasuredQdq {
  readonly quantized: QdqBlocks;
  readonly sqnr: number;
  readonly largestError: number;
}

/** `quantizeQdqBlocks` where `fitsCoder` holds, with checked options. */
export function quantizeQdqWithCoder(weight: Tensor, settings: QdqCoderSettings): MeasuredQdq {
  checkWeight(weight, settings.name, 2);
  const [K, N] = weight.shape;
  const plain = plainCodes(weight);
  const float16Scales = weight.dtype === "float16";
  if (plain?.order === "columns") {
    const coder = qdqCoder({ ...settings, K, N, dtype: plain.dtype, float16Scales });
    coder.add(plain.bytes);
    return coder.finish();
  }
  const coder = qdqCoder({ ...settings, K, N, dtype: "float32", float16Scales });
  visitColumns(weight, (_first, _count, values) =>
    coder.add(new Uint8Array(values.buffer, values.byteOffset, values.byteLength)),
  );
  return coder.finish();
}

interface QdqCoderOptions extends QdqCoderSettings {
  readonly K: number;
  readonly N: number;
  readonly dtype: CodedDType;
  readonly float16Scales: boolean;
}

/** The same for a weight [K, N] whose columns stream as codes of `dtype`. */
export async function quantizeQdqStream(
  columns: AsyncIterable<Uint8Array>,
  options: QdqCoderOptions,
): Promise<MeasuredQdq> {
  const coder = qdqCoder(options);
  for await (const bytes of columns) coder.add(bytes);
  return coder.finish();
}

function qdqCoder(options: QdqCoderOptions): { add(bytes: Uint8Array): void; finish(): MeasuredQdq } {
  const { K, N, blockSize, symmetric, float16Scales } = options;
  const coder = createByteBlockCoder({ ...options, rows: N, length: K, rounding: "away", turned: true });
  return {
    add: coder.add,
    finish() {
      const { codes, scales, zeroPoints, sqnr, largestError } = coder.finish();
      const blocks = Math.ceil(K / blockSize);
      const scaleTensor = fromData("float32", scales, [blocks, N]);
      const quantized: QdqBlocks = {
        data: symmetric ? fromData("int4", new Int8Array(codes.buffer), [K, N]) : fromData("uint4", codes, [K, N]),
        scales: float16Scales ? cast(scaleTensor, "float16") : scaleTensor,
        ...(zeroPoints && { zeroPoints: fromData("uint4", zeroPoints, [blocks, N]) }),
        axis: 0,
        blockSize,
        transposed: false,
      };
      return { quantized, sqnr, largestError };
    },
  };
}

/** Row-major [blocks, N] of row-major [N, blocks]. */
function transposedCopy(scales: Tensor<"float32"> | Tensor<"float16">, blocks: number, N: number): QdqBlocks["scales"] {
  const out = allocate(scales.dtype, blocks * N);
  for (let n = 0; n < N; n++) for (let b = 0; b < blocks; b++) out[b * N + n] = scales.data[n * blocks + b];
  return fromData(scales.dtype, out, [blocks, N]) as QdqBlocks["scales"];
}

function zeroCodes(packed: Tensor<"uint8">, blocks: number, N: number): Tensor<"uint4"> {
  const out = allocate("uint4", blocks * N);
  const width = packed.shape[1];
  for (let n = 0; n < N; n++) for (let b = 0; b < blocks; b++) out[b * N + n] = codeAt(packed.data, n * width, b, 4);
  return fromData("uint4", out, [blocks, N]);
}

/** Dequantizes columns [first, first + count) as rows [count, K] into `out`. */
export function dequantizeQdqColumnsInto(out: Float32Array, quantized: QdqBlocks, first: number, count: number): void {
  const { data, zeroPoints, transposed, blockSize } = quantized;
  const [K, N] = transposed ? [data.shape[1], data.shape[0]] : data.shape;
  const scales = float32Values(quantized.scales);
  const blocks = Math.ceil(K / blockSize);
  for (let row = 0; row < count; row++) {
    const n = first + row;
    for (let k = 0; k < K; k++) {
      const block = Math.floor(k / blockSize);
      const code = data.data[transposed ? n * K + k : k * N + n];
      const scale = scales[transposed ? n * blocks + block : block * N + n];
      out[row * K + k] = (code - (zeroPoints ? zeroPoints.data[block * N + n] : 0)) * scale;
    }
  }
}
