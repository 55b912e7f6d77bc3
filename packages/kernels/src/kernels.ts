/**
 * What every kernel set offers: the WebAssembly one (`createKernels`) and its plain-JavaScript twin (`plainKernels`),
 * which is the reference in tests and the fallback where WebAssembly SIMD is missing. Results are bit-equal.
 *
 * Kernels work on memory that the set itself owns: `allocate` it, fill it (a file can be read straight into it), run,
 * and read the result out before `release`. The memory has a fixed size and never grows, so views stay attached.
 */
export interface Kernels extends KernelMemory, KernelFunctions {
  readonly engine: "wasm" | "plain";
}

/** The memory of a kernel set: a stack of blocks. */
export interface KernelMemory {
  /** Bytes that can be allocated in all. */
  readonly capacity: number;
  /** A zeroed block, 16-byte aligned. Throws `KERNEL_MEMORY` when the capacity is used up. */
  allocate(bytes: number): Uint8Array<ArrayBuffer>;
  /** As `allocate`, with whatever content: for buffers that a file is read into. */
  allocateUnset(bytes: number): Uint8Array<ArrayBuffer>;
  /** A zeroed block of `count` float64 values. Throws `KERNEL_MEMORY` when the capacity is used up. */
  allocateValues(count: number): Float64Array<ArrayBuffer>;
  /** Marks the present height of the stack of blocks; `release(mark)` frees every block allocated since. */
  mark(): number;
  release(mark: number): void;
}

/**
 * What kernels compute. Every array is a view of the set's own memory (`KERNEL_ARGUMENT` otherwise, and where lengths
 * do not fit); `out` may be one of the inputs, but blocks must not overlap partly. Where a result is NaN, the bits of
 * that NaN are not defined in float64 arrays; codes written by `store` have one NaN per dtype.
 */
export interface KernelFunctions {
  // Casts. `codes` holds little-endian codes of `dtype`, any byte alignment; `values` float64, 8-byte aligned.
  /** values[i] = value of codes[i]: exact, but for 64-bit integers beyond 2^53, which are rounded to nearest. */
  load(values: Float64Array, dtype: KernelDType, codes: Uint8Array): void;
  /**
   * codes[i] = values[i] rounded once, to nearest, ties to even. Floats: NaN becomes the positive quiet NaN, overflow
   * infinity, or NaN where the dtype has none (float8_e4m3fn above 464). float8_e8m0fnu: 0 gives 2^-127, negatives NaN.
   * Integers: saturate, NaN gives 0. bool: all but 0 is true.
   */
  store(dtype: KernelDType, codes: Uint8Array, values: Float64Array): void;

  // Element-wise float64, each result rounded once per operation. All arrays have the length of `out`.
  fill(out: Float64Array, value: number): void;
  /** out[i] += weight * value of codes[i]: load fused with a weighted sum. */
  addScaledCodes(out: Float64Array, dtype: KernelDType, codes: Uint8Array, weight: number): void;
  /** out[i] = value of codes[i] - b[i]: load fused with a difference. */
  subtractFromCodes(out: Float64Array, dtype: KernelDType, codes: Uint8Array, b: Float64Array): void;
  /** out[i] += weight * x[i] */
  addScaled(out: Float64Array, x: Float64Array, weight: number): void;
  add(out: Float64Array, a: Float64Array, b: Float64Array): void;
  subtract(out: Float64Array, a: Float64Array, b: Float64Array): void;
  multiply(out: Float64Array, a: Float64Array, b: Float64Array): void;
  divide(out: Float64Array, a: Float64Array, b: Float64Array): void;
  /** out[i] = a[i] * scale + shift */
  affine(out: Float64Array, a: Float64Array, scale: number, shift: number): void;
  abs(out: Float64Array, a: Float64Array): void;
  sqrt(out: Float64Array, a: Float64Array): void;
  /** out[i] = a[i] held within low .. high; NaN stays NaN. */
  clamp(out: Float64Array, a: Float64Array, low: number, high: number): void;
  /** out[i] = |a[i]| >= threshold ? a[i] : 0 */
  keepAbove(out: Float64Array, a: Float64Array, threshold: number): void;
  /** out[i] = a[i] where where[i] is not 0, else a[i] * 0: a zero, or NaN that shows. */
  keepWhere(out: Float64Array, a: Float64Array, where: Float64Array): void;
  /** The same with bits for `where`: entry i has bit `first` + i, which is bit j mod 8 of byte floor(j / 8) for that j. */
  keepBits(out: Float64Array, a: Float64Array, bits: Uint8Array, first: number): void;
  /** Bit i of `bits` = whether a[i] is not 0 (NaN is not); spare bits of the last byte are 0. */
  nonZeroBits(bits: Uint8Array, a: Float64Array): void;
  /** out[i] = |b[i]| < limit ? a[i] : a[i] / b[i] */
  divideUnlessSmall(out: Float64Array, a: Float64Array, b: Float64Array, limit: number): void;
  /**
   * Sign consensus of `inputs` (already weighted): sign = +1 where their sum >= 0, else -1; `sum` = sum of the entries
   * with that sign; `weightSum` = sum of `weights` of those entries (zeros never agree). At most 1024 inputs.
   */
  signConsensus(
    sum: Float64Array,
    weightSum: Float64Array,
    inputs: readonly Float64Array[],
    weights: readonly number[],
  ): void;
  /**
   * The sign consensus of weightⱼ xⱼ in one pass: out[i] = the sum of those with the sign of Σ weightⱼ xⱼ (a sum of 0
   * counts as +), divided by the sum of their weights when `normalize`, unless that is within ± `limit`. Returns
   * whether a sum Σ weightⱼ xⱼ is infinite or NaN. At most 1024 inputs; `out` is none of them.
   */
  weightedConsensus(
    out: Float64Array,
    inputs: readonly Float64Array[],
    weights: readonly number[],
    normalize: boolean,
    limit: number,
  ): boolean;
  /**
   * out[i] = base[i] + Σ weightⱼ xⱼ / max(Σ weightⱼ, floor) over the xⱼ with the sign of Σ xⱼ (0 counts as +); NaN where
   * Σ xⱼ is not finite. At most 1024 inputs; `out` is none of them.
   */
  electedMean(
    out: Float64Array,
    base: Float64Array,
    inputs: readonly Float64Array[],
    weights: readonly number[],
    floor: number,
  ): void;
  /** out[i] = mean of (xⱼ - their mean)² over the inputs, at most 1024; `out` is none of them. */
  variance(out: Float64Array, inputs: readonly Float64Array[]): void;

  // Reductions in float64, in a fixed order: the same on every platform.
  sum(a: Float64Array): number;
  sumAbs(a: Float64Array): number;
  dot(a: Float64Array, b: Float64Array): number;
  /** Largest |a[i]|, 0 for none; NaN is passed over. */
  maxAbs(a: Float64Array): number;
  /** Index of the first NaN or infinity, -1 when there is none. */
  firstNonFinite(a: Float64Array): number;
  /** How many entries are not 0; NaN is not. */
  countNonZero(a: Float64Array): number;
  /** Index of the `occurrence`-th entry (from 1) with |a[i]| = magnitude; where there are fewer, -1 - their number. */
  findMagnitude(a: Float64Array, magnitude: number, occurrence: number): number;
  /**
   * Counts for an exact k-th largest magnitude by radix selection over a stream of tiles. The 64 bits of |a[i]| are four
   * 16-bit digits; `counts` (65536 entries) is increased at digit `level` (0 = uppermost) of each |a[i]| whose digits
   * above that one equal `prefix` (0n at level 0). Bits of magnitudes sort like their values, infinity and NaN last.
   */
  countMagnitudes(counts: Uint32Array, a: Float64Array, level: 0 | 1 | 2 | 3, prefix: bigint): void;

  /**
   * The finer count where a bracket of magnitudes is known: word = upper 32 bits of |a[i]|. `counts` has three entries
   * for each word from `low` on: how many elements have it, the lower 32 bits of those or-ed, and the complements of
   * those bits or-ed. (Where the latter two have no bit in common, the word stands for one value.) Returns how many
   * words are above the bracket.
   */
  countWords(counts: Uint32Array, a: Float64Array, low: number): number;
  /** The indices i where the upper 32 bits of |a[i]| are `word`, ascending, into `places`; returns their number. */
  findWord(places: Uint32Array, a: Float64Array, word: number): number;

  /** out [m, n] += alpha * a [m, k] x b [k, n], row-major float64. */
  gemm(out: Float64Array, a: Float64Array, b: Float64Array, m: number, n: number, k: number, alpha: number): void;

  // Products over parts of larger row-major float64 matrices; strides in elements. `out` must not overlap the operands.
  /** out [m, n] += alpha * a [m, k] x b [k, n]; strides of rows and columns, so a transpose is its strides swapped. */
  gemmStrided(
    out: Float64Array,
    outStride: number,
    a: Float64Array,
    aStrides: readonly [row: number, column: number],
    b: Float64Array,
    bStrides: readonly [row: number, column: number],
    m: number,
    n: number,
    k: number,
    alpha: number,
  ): void;
  /** y [m] += alpha * a [m, n] x */
  gemv(y: Float64Array, a: Float64Array, stride: number, x: Float64Array, m: number, n: number, alpha: number): void;
  /** y [n] += alpha * a^T x for a [m, n] */
  gemvTransposed(
    y: Float64Array,
    a: Float64Array,
    stride: number,
    x: Float64Array,
    m: number,
    n: number,
    alpha: number,
  ): void;
  /** y [n] += alpha * a x for symmetric a [n, n], of which only the lower triangle is read. */
  symv(y: Float64Array, a: Float64Array, stride: number, x: Float64Array, n: number, alpha: number): void;

  /**
   * Codes the rows of `codes`, `shape` = [rows, length], in blocks of `blockSize`, as MatMulNBits lays them out:
   * packed [rows, blocks, blockSize bits / 8], lowest bits first and 0 beyond the row's end, scales [rows, blocks].
   * Without `zeroPoints` a block's scale is its signed peak / -2^(bits - 1) (the negative one of equals) and its zero
   * point 2^(bits - 1); with them [rows, blocks], a byte each, it is the range that holds 0, over 2^bits - 1 steps.
   * code = clamp(trunc(w (1 / scale) + zero point + 1/2)), float32 throughout. `noise`, when given, is increased by
   * the sums of w^2 and of (w - what its code stands for)^2, and its third entry raised to the largest |w - …|.
   * Returns -1, or the first row with NaN or infinity, where it stopped.
   */
  quantizeBlocks(
    out: { readonly packed: Uint8Array; readonly scales: Float32Array; readonly zeroPoints?: Uint8Array },
    dtype: CodedDType,
    codes: Uint8Array,
    shape: readonly [rows: number, length: number],
    options: BlockCoding,
    noise?: Float64Array,
  ): number;

  // Weights as bytes. `shape` is [rows, length]; `noise` as for `quantizeBlocks`.
  /**
   * Widens the range of each row, `ranges` [rows, 2] = smallest and largest so far (0 and 0 at first), to hold its
   * values. Returns -1, or the first row with NaN or infinity, where it stopped.
   */
  rangeRows(ranges: Float32Array, dtype: CodedDType, codes: Uint8Array, shape: readonly [number, number]): number;
  /**
   * out[r][i] = clamp(nearest even(w / scale) + zero point) in int8 or uint8, float32 throughout. `scales` and
   * `zeroPoints` (whole numbers) hold one entry, or one for each row.
   */
  quantizeInt8(
    out: Uint8Array,
    dtype: CodedDType,
    codes: Uint8Array,
    shape: readonly [rows: number, length: number],
    coding: { readonly signed: boolean; readonly scales: Float32Array; readonly zeroPoints: Float32Array },
    noise?: Float64Array,
  ): void;
  /**
   * 4-bit codes of blocks along each row, a byte each: codes [rows, length], scales and zero points [rows, blocks].
   * Scales are those of `quantizeBlocks`; without `zeroPoints` codes are int8 -8..7, with them 0..15. Rounding "away":
   * code = round half away(w (1 / scale)) + zero point; "even": round half even(w / scale + zero point), where a zero
   * block's zero point is 8. Returns -1, or the first row with NaN or infinity, where it stopped.
   */
  quantizeBlockBytes(
    out: { readonly codes: Uint8Array; readonly scales: Float32Array; readonly zeroPoints?: Uint8Array },
    dtype: CodedDType,
    codes: Uint8Array,
    shape: readonly [rows: number, length: number],
    options: { readonly blockSize: number; readonly rounding: "away" | "even"; readonly float16Scales?: boolean },
    noise?: Float64Array,
  ): number;
  /**
   * Each block of `count` values divided by its largest magnitude, as the rank of the quotient among 16 levels: how many
   * of the 15 rising `bounds` lie below it. packed [ceil(count / 2)] holds `order[rank]`, the first of two in the high
   * bits; largest [blocks]. `levels` by rank are what `noise` is measured with. Returns -1, or the first block with NaN
   * or infinity, where it stopped.
   */
  quantizeLevels(
    out: { readonly packed: Uint8Array; readonly largest: Float32Array },
    dtype: CodedDType,
    codes: Uint8Array,
    count: number,
    table: {
      readonly blockSize: number;
      readonly bounds: Float32Array;
      readonly order: Uint8Array;
      readonly levels: Float32Array;
    },
    noise?: Float64Array,
  ): number;
  /** out [columns, rows] = the transpose of a [rows, columns], a byte each; no overlap. */
  transposeBytes(out: Uint8Array, a: Uint8Array, shape: readonly [rows: number, columns: number]): void;

  /**
   * out[i] = 1 with `probability`, else 0: word start + i of the stream of `key` is below round(probability * 2^32).
   * `key` comes from `createRandom(seed, name).key`; start is a whole number below 2^53.
   */
  bernoulliMask(out: Float64Array, key: readonly [number, number], start: number, probability: number): void;
  /** The same for `count` entries as bits: entry i is bit i mod 8 of byte floor(i / 8); spare bits are 0. */
  bernoulliBits(
    bits: Uint8Array,
    count: number,
    key: readonly [number, number],
    start: number,
    probability: number,
  ): void;
  /** out[i] = word start + i of the stream of `key`. */
  randomWords(out: Uint32Array, key: readonly [number, number], start: number): void;
  /**
   * Keeps entries at random by their rank within a row. `magnitudes` and `words` [rowLength, inner] hold `inner`
   * interleaved rows (signs do not count); of the entry of rank r in its row (0 = smallest; ties by position; NaN
   * largest) and flat index j, bit `first` + j of `bits` is set where words[j] < (low + step r) 2^32, else left as it
   * is. `scratch` has `rankScratchBytes(rowLength)` bytes, 16-byte aligned.
   */
  keepByRank(
    bits: Uint8Array,
    first: number,
    magnitudes: Float32Array,
    words: Uint32Array,
    inner: number,
    probability: { readonly low: number; readonly step: number },
    scratch: Uint8Array,
  ): void;
}

/** dtypes of weights that the quantizing kernels take. */
export type CodedDType = "float32" | "float16" | "bfloat16";

/** How `quantizeBlocks` codes. */
export interface BlockCoding {
  readonly bits: 2 | 4 | 8;
  /** A multiple of 16, at most 256. */
  readonly blockSize: number;
  /** Scales are rounded to float16 before codes are made with them. Default false. */
  readonly float16Scales?: boolean;
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

/** Bytes that `keepByRank` works in, by the length of a row. */
export function rankScratchBytes(rowLength: number): number {
  return 24592 + 20 * rowLength;
}
