/**
 * What every kernel set offers: the WebAssembly one (`createKernels`) and its plain-JavaScript twin (`plainKernels`),
 * which is the reference in tests and the fallback where WebAssembly SIMD is missing. Results are bit-equal.
 *
 * Kernels work on memory that the set itself owns: `allocate` it, fill it (a file can be read straight into it), run,
 * and read the result out before `release`. The memory has a fixed size and never grows, so views stay attached.
 */
export interface Kernels {
  readonly engine: "wasm" | "plain";
  /** Bytes that can be allocated in all. */
  readonly capacity: number;
  /** A zeroed block, 16-byte aligned. Throws `KERNEL_MEMORY` when the capacity is used up. */
  allocate(bytes: number): Uint8Array;
  /** Marks the present height of the stack of blocks; `release(mark)` frees every block allocated since. */
  mark(): number;
  release(mark: number): void;

  // Casts. `codes` holds little-endian codes of `dtype`, any byte alignment; `values` float64, 8-byte aligned.
  /** values[i] = value of codes[i], exactly. */
  load(values: Float64Array, dtype: KernelDType, codes: Uint8Array): void;
  /** codes[i] = values[i] rounded once, to nearest, ties to even; NaN stays NaN; overflow as IEEE (see `casts`). */
  store(dtype: KernelDType, codes: Uint8Array, values: Float64Array): void;

  // Element-wise float64, each result rounded once per operation. Lengths are those of `out`.
  fill(out: Float64Array, value: number): void;
  /** out[i] += weight * value of codes[i]: load fused with a weighted sum. */
  addScaledCodes(out: Float64Array, dtype: KernelDType, codes: Uint8Array, weight: number): void;
  /** out[i] += weight * x[i] */
  addScaled(out: Float64Array, x: Float64Array, weight: number): void;
  add(out: Float64Array, a: Float64Array, b: Float64Array): void;
  subtract(out: Float64Array, a: Float64Array, b: Float64Array): void;
  multiply(out: Float64Array, a: Float64Array, b: Float64Array): void;
  divide(out: Float64Array, a: Float64Array, b: Float64Array): void;
  /** out[i] = a[i] * scale + shift */
  affine(out: Float64Array, a: Float64Array, scale: number, shift: number): void;
  abs(out: Float64Array, a: Float64Array): void;
  /** out[i] = |a[i]| >= threshold ? a[i] : 0 */
  keepAbove(out: Float64Array, a: Float64Array, threshold: number): void;
  /**
   * Sign consensus of `inputs` (already weighted): sign = +1 where their sum >= 0, else -1; `sum` = sum of the entries
   * with that sign; `weightSum` = sum of `weights` of those entries (zeros never agree).
   */
  signConsensus(
    sum: Float64Array,
    weightSum: Float64Array,
    inputs: readonly Float64Array[],
    weights: readonly number[],
  ): void;

  // Reductions in float64, in a fixed order: the same on every platform.
  sum(a: Float64Array): number;
  sumAbs(a: Float64Array): number;
  dot(a: Float64Array, b: Float64Array): number;
  maxAbs(a: Float64Array): number;
  /** Index of the first NaN or infinity, -1 when there is none. */
  firstNonFinite(a: Float64Array): number;
  /** counts[key] += 1 for each |a[i]|, key = bits of the float32 of |a[i]| shifted right by `shift`, where the bits above match `prefix`. For exact k-th largest by radix selection over a stream of tiles. */
  countMagnitudes(counts: Uint32Array, a: Float64Array, level: 0 | 1 | 2 | 3, prefix: bigint): void;

  /** out [m, n] += alpha * a [m, k] x b [k, n], row-major float64. */
  gemm(out: Float64Array, a: Float64Array, b: Float64Array, m: number, n: number, k: number, alpha: number): void;
}

/** dtypes that `load` and `store` know. */
export type KernelDType =
  | "float64"
  | "float32"
  | "float16"
  | "bfloat16"
  | "float8_e4m3fn"
  | "float8_e5m2"
  | "float8_e8m0fnu"
  | "int8"
  | "uint8"
  | "int16"
  | "uint16"
  | "int32"
  | "uint32"
  | "int64"
  | "uint64"
  | "bool";
