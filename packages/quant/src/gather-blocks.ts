import type { CodedDType } from "@loomweight/kernels";
import { allocate, elementCount, fromData, type Tensor } from "@loomweight/tensor";
import { createByteBlockCoder } from "./byte-block-coder.ts";
import { float32Values } from "./float32-values.ts";
import { checkBlockSize, checkWeight, invalid, nonFiniteWeight } from "./options.ts";
import { plainCodes } from "./panels.ts";
import { clamp, roundHalfToEven } from "./rounding.ts";

/** A table (embeddings) in 4-bit blocks along one axis, as GatherBlockQuantized takes it. */
export interface GatherBlocks {
  /** int4 (symmetric, −8..7) or uint4 codes in the table's shape. */
  readonly data: Tensor<"int4"> | Tensor<"uint4">;
  /** float32, the table's shape with the quantized axis divided by the block size, rounded up. */
  readonly scales: Tensor<"float32">;
  /** uint4, the shape of `scales`. */
  readonly zeroPoints?: Tensor<"uint4">;
  /** Not negative. */
  readonly axis: number;
  readonly blockSize: number;
}

export interface GatherOptions {
  /** Axis that is cut into blocks; negative counts from the end. Default −1. */
  readonly axis?: number;
  /** 16, 32, 64, 128 or 256; default 32. */
  readonly blockSize?: number;
  /** Default true. */
  readonly symmetric?: boolean;
}

/**
 * Codes a table of any rank in 4-bit blocks along `axis`, bit-equal to onnxruntime's tool: half to even, scale =
 * signed peak / −8 (the negative one of equals) or the range that holds 0 over 15 steps. A zero block has codes 0
 * (symmetric) or codes and zero point 8.
 * @throws `INVALID_OPTION`, `UNSUPPORTED_DTYPE`, `NON_FINITE_WEIGHT` naming `name`
 */
export function quantizeGatherBlocks(table: Tensor, options: GatherOptions = {}, name = "table"): GatherBlocks {
  const { blockSize = 32, symmetric = true } = options;
  checkBlockSize(blockSize, "quantizeGatherBlocks");
  checkWeight(table, name);
  const rank = table.shape.length;
  const given = options.axis ?? -1;
  const axis = given < 0 ? given + rank : given;
  if (!Number.isInteger(axis) || axis < 0 || axis >= rank) {
    throw invalid("quantizeGatherBlocks.axis", given, `an axis of [${table.shape}]`);
  }
  const size = table.shape[axis];
  const inner = elementCount(table.shape.slice(axis + 1));
  const outer = elementCount(table.shape.slice(0, axis));
  const blocks = Math.ceil(size / blockSize);
  if (axis === rank - 1) {
    const plain = plainCodes(table);
    const dtype = plain?.order === "elements" ? plain.dtype : "float32";
    const coder = tableCoder({ shape: table.shape, blockSize, symmetric, dtype, name, measured: false });
    if (plain?.order === "elements") coder.add(plain.bytes);
    else {
      const values = float32Values(table);
      coder.add(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
    }
    return coder.finish().quantized;
  }
  const values = float32Values(table);
  const data = symmetric ? allocate("int4", values.length) : allocate("uint4", values.length);
  const scales = allocate("float32", outer * blocks * inner);
  const zeros = symmetric ? undefined : allocate("uint4", scales.length);
  for (let o = 0; o < outer; o++) {
    for (let block = 0; block < blocks; block++) {
      const from = block * blockSize;
      const length = Math.min(blockSize, size - from);
      for (let i = 0; i < inner; i++) {
        const start = (o * size + from) * inner + i;
        const at = (o * blocks + block) * inner + i;
        if (!codeBlock(values, start, length, inner, data, scales, zeros, at)) {
          throw nonFiniteWeight(name, `in row ${o}`);
        }
      }
    }
  }
  const scaleShape = table.shape.map((each, position) => (position === axis ? blocks : each));
  return {
    data: symmetric
      ? fromData("int4", data as Int8Array, table.shape)
      : fromData("uint4", data as Uint8Array, table.shape),
    scales: fromData("float32", scales, scaleShape),
    ...(zeros && { zeroPoints: fromData("uint4", zeros, scaleShape) }),
    axis,
    blockSize,
  };
}

interface TableCoderOptions {
  readonly shape: readonly number[];
  readonly blockSize: number;
  readonly symmetric: boolean;
  /** dtype of the codes that are added. */
  readonly dtype: CodedDType;
  readonly name: string;
  readonly measured: boolean;
}

interface MeasuredTable {
  readonly quantized: GatherBlocks;
  readonly sqnr: number;
  readonly largestError: number;
}

/** `quantizeGatherBlocks` along the last axis of a table whose elements stream row-major as codes of `dtype`. */
export async function quantizeGatherStream(
  parts: AsyncIterable<Uint8Array>,
  options: TableCoderOptions,
): Promise<MeasuredTable> {
  const coder = tableCoder(options);
  for await (const bytes of parts) coder.add(bytes);
  return coder.finish();
}

/** Codes along the last axis. */
function tableCoder(options: TableCoderOptions): { add(bytes: Uint8Array): void; finish(): MeasuredTable } {
  const { shape, blockSize, symmetric } = options;
  const length = shape[shape.length - 1];
  const rows = elementCount(shape) / length;
  const coder = createByteBlockCoder({ ...options, rows, length, rounding: "even", turned: false });
  return {
    add: coder.add,
    finish() {
      const { codes, scales, zeroPoints, sqnr, largestError } = coder.finish();
      const scaleShape = [...shape.slice(0, -1), Math.ceil(length / blockSize)];
      const quantized: GatherBlocks = {
        data: symmetric ? fromData("int4", new Int8Array(codes.buffer), shape) : fromData("uint4", codes, shape),
        scales: fromData("float32", scales, scaleShape),
        ...(zeroPoints && { zeroPoints: fromData("uint4", zeroPoints, scaleShape) }),
        axis: shape.length - 1,
        blockSize,
      };
      return { quantized, sqnr, largestError };
    },
  };
}

/** The float32 table that the codes stand for. */
export function dequantizeGatherBlocks(quantized: GatherBlocks): Tensor<"float32"> {
  const { data, scales, zeroPoints, axis, blockSize } = quantized;
  const size = data.shape[axis];
  const blocks = scales.shape[axis];
  const inner = elementCount(data.shape.slice(axis + 1));
  const out = allocate("float32", data.data.length);
  for (let row = 0, i = 0; i < out.length; row++) {
    const first = (Math.floor(row / size) * blocks + Math.floor((row % size) / blockSize)) * inner;
    for (let at = first; at < first + inner; at++, i++) {
      out[i] = (data.data[i] - (zeroPoints ? zeroPoints.data[at] : 0)) * scales.data[at];
    }
  }
  return fromData("float32", out, data.shape);
}

/** Codes values start, start + step, …; false when one of them is NaN or infinity. */
function codeBlock(
  values: Float32Array,
  start: number,
  length: number,
  step: number,
  data: Int8Array | Uint8Array,
  scales: Float32Array,
  zeros: Uint8Array | undefined,
  at: number,
): boolean {
  const end = start + length * step;
  let low = 0;
  let high = 0;
  let check = 0;
  for (let i = start; i < end; i += step) {
    const w = values[i];
    if (w < low) low = w;
    if (w > high) high = w;
    check += w - w; // NaN as soon as one value is not finite
  }
  if (check !== 0) return false;
  if (zeros === undefined) {
    const scale = Math.fround((high > -low ? high : low) / -8);
    scales[at] = scale;
    const divisor = scale === 0 ? 1 : scale;
    for (let i = start; i < end; i += step) {
      data[i] = clamp(roundHalfToEven(Math.fround(values[i] / divisor)), -8, 7);
    }
    return true;
  }
  const scale = Math.fround(Math.fround(high - low) / 15);
  scales[at] = scale;
  const zero = scale === 0 ? 8 : clamp(roundHalfToEven(Math.fround(-low / scale)), 0, 15);
  zeros[at] = zero;
  const divisor = scale === 0 ? 1 : scale;
  for (let i = start; i < end; i += step) {
    data[i] = clamp(roundHalfToEven(Math.fround(Math.fround(values[i] / divisor) + zero)), 0, 15);
  }
  return true;
}
