import type { KernelDType, Kernels } from "@loomweight/kernels";
import { type WholeDType, wholeRange, wrapInto } from "./cast-integers.ts";
import { rawBytes } from "./codes.ts";
import { type DType, dtypeFacts, isFloat, type Storage } from "./dtype.ts";
import { LoomweightError } from "./errors.ts";
import { blockLength, withKernels } from "./shared-kernels.ts";
import { allocate, contiguousData, fromData, type Tensor } from "./tensor.ts";

/** How values become codes of a dtype that does not hold them. */
export interface CastOptions {
  /** Fractions, into whole numbers: to nearest with ties to even (default), or towards zero. Floats always to nearest. */
  readonly rounding?: "nearest" | "truncate";
  /**
   * Values beyond the range. Default: floats follow IEEE (infinity; NaN in float8_e4m3fn and float8_e8m0fnu), whole
   * numbers saturate. "saturate": the nearest finite value, for infinity too. "wrap": whole numbers modulo 2^bits, after
   * truncation, NaN and infinity as 0; floats refuse it.
   */
  readonly overflow?: "saturate" | "wrap";
}

/** The typed arrays that hold numbers. */
type Codes = Exclude<Storage, string[]>;

/** Largest finite values, for saturation. */
const largestFinite = {
  float64: Number.MAX_VALUE,
  float32: 3.4028234663852886e38,
  float16: 65504,
  bfloat16: 3.3895313892515355e38,
  float8_e4m3fn: 448,
  float8_e5m2: 57344,
  float8_e8m0fnu: 2 ** 127,
} as const;

/** Throws `UNSUPPORTED_DTYPE` for dtypes without real values: complex64, text, float4 and float6. */
export function requireValues(dtype: DType, where: string): void {
  const { kind } = dtypeFacts[dtype];
  if (kind === "complex" || kind === "text" || kind === "packed") {
    throw new LoomweightError({
      code: "UNSUPPORTED_DTYPE",
      problem: `${where}: ${dtype} elements are not computed with`,
      expected: "a real numeric dtype",
      found: dtype,
    });
  }
}

/** The kernels' name of a dtype with real values; a code of int4 and uint4 fills a byte here. */
function kernelDType(dtype: DType): KernelDType {
  if (dtype === "int4") return "int8";
  if (dtype === "uint4") return "uint8";
  return dtype as KernelDType;
}

/** values[i] = value of codes[start + i], for one block. */
function loadBlock(kernels: Kernels, values: Float64Array, dtype: DType, codes: Codes, staging: Uint8Array): void {
  const bytes = staging.subarray(0, codes.byteLength);
  bytes.set(rawBytes(codes));
  kernels.load(values, kernelDType(dtype), bytes);
}

/** The elements row-major as float64, in an array of its own: exact, but for 64-bit integers beyond 2^53. */
export function toFloat64(tensor: Tensor): Float64Array {
  requireValues(tensor.dtype, "toFloat64");
  const codes = contiguousData(tensor) as Codes;
  if (codes instanceof BigInt64Array || codes instanceof BigUint64Array) {
    const values = new Float64Array(codes.length);
    for (let i = 0; i < codes.length; i++) values[i] = Number(codes[i]);
    return values;
  }
  if (isFloat(tensor.dtype) && tensor.dtype !== "float64" && tensor.dtype !== "float32") {
    const values = new Float64Array(codes.length);
    withKernels((kernels) => {
      const block = kernels.allocateValues(blockLength);
      const staging = kernels.allocate(8 * blockLength);
      for (let start = 0; start < codes.length; start += blockLength) {
        const part = codes.subarray(start, start + blockLength);
        const target = block.subarray(0, part.length);
        loadBlock(kernels, target, tensor.dtype, part, staging);
        values.set(target, start);
      }
    });
    return values;
  }
  return new Float64Array(codes);
}

/** The elements row-major as float32, in an array of its own, each rounded once. */
export function toFloat32(tensor: Tensor): Float32Array {
  requireValues(tensor.dtype, "toFloat32");
  const codes = contiguousData(tensor) as Codes;
  if (codes instanceof BigInt64Array || codes instanceof BigUint64Array) {
    const values = new Float32Array(codes.length);
    for (let i = 0; i < codes.length; i++) values[i] = oddFloat64(codes[i]);
    return values;
  }
  if (isFloat(tensor.dtype) && tensor.dtype !== "float64" && tensor.dtype !== "float32") {
    return transcode(codes, tensor.dtype, "float32", {}) as Float32Array;
  }
  return new Float32Array(codes);
}

/** Float64 values, row-major, as a tensor of `dtype` (default float64, without a copy); each is rounded once. */
export function fromFloat64<D extends DType = "float64">(
  values: Float64Array,
  shape: readonly number[],
  dtype?: D,
  options: CastOptions = {},
): Tensor<D> {
  const type = (dtype ?? "float64") as D;
  requireValues(type, "fromFloat64");
  return fromData(type, transcode(values, "float64", type, options) as Storage<D>, shape);
}

/** The whole number as float64; where that is inexact, its last bit is set (round to odd), so that a further rounding to float32 or less equals one rounding. */
function oddFloat64(value: bigint): number {
  const magnitude = value < 0n ? -value : value;
  if (magnitude < 2n ** 53n) return Number(value);
  const shift = BigInt(magnitude.toString(2).length - 53);
  let upper = magnitude >> shift;
  if (upper << shift !== magnitude) upper |= 1n;
  return Number(value < 0n ? -(upper << shift) : upper << shift);
}

/** Codes of one dtype as codes of another, one of them a float, in blocks through the kernels. */
export function transcode(codes: Codes, from: DType, to: DType, options: CastOptions): Codes {
  const whole = !isFloat(to);
  if (options.overflow === "wrap" && !whole) {
    throw new LoomweightError({
      code: "UNSUPPORTED_CAST",
      problem: `a cast to ${to} cannot wrap`,
      option: "overflow",
      expected: '"saturate" or nothing',
      found: '"wrap"',
    });
  }
  if (from === to) return codes;
  const out = allocate(to, codes.length) as Codes;
  withKernels((kernels) => {
    const block = kernels.allocateValues(blockLength);
    const staging = kernels.allocate(8 * blockLength);
    for (let start = 0; start < codes.length; start += blockLength) {
      const part = codes.subarray(start, start + blockLength);
      const target = out.subarray(start, start + blockLength);
      const values = block.subarray(0, part.length);
      if (part instanceof BigInt64Array || part instanceof BigUint64Array) {
        for (let i = 0; i < part.length; i++) values[i] = to === "float64" ? Number(part[i]) : oddFloat64(part[i]);
      } else loadBlock(kernels, values, from, part, staging);
      if (whole && options.rounding === "truncate") {
        for (let i = 0; i < values.length; i++) values[i] = Math.trunc(values[i]);
      }
      if (options.overflow === "wrap" && to !== "bool") {
        wrapInto(target as Storage<WholeDType>, to as WholeDType, values);
        continue;
      }
      if (!whole && options.overflow === "saturate") {
        kernels.clamp(values, values, to === "float8_e8m0fnu" ? 0 : -largestFinite[to], largestFinite[to]);
      }
      if (to === "int4" || to === "uint4") {
        const { low, high } = wholeRange(to);
        kernels.clamp(values, values, Number(low), Number(high));
      }
      const encoded = staging.subarray(0, target.byteLength);
      kernels.store(kernelDType(to), encoded, values);
      rawBytes(target).set(encoded);
    }
  });
  return out;
}
