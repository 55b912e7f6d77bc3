import { allocate, fromData, type Tensor } from "@loomweight/tensor";
import { checkBlockSize, checkWeight, invalid, nonFiniteWeight } from "./options.ts";
import { clamp } from "./rounding.ts";
import { visitColumns } from "./weight-columns.ts";

/** 4-bit number formats of MatMulBnb4. */
export type Bnb4Type = "nf4" | "fp4";

/** A weight [K, N] in 4-bit floats, one largest magnitude a block: value = level[code] · absmax. */
export interface Bnb4Quantized {
  readonly quantType: Bnb4Type;
  readonly blockSize: number;
  readonly K: number;
  readonly N: number;
  /** uint8 [⌈N · K / 2⌉]: the transposed weight flattened, the FIRST of two codes in the high bits. */
  readonly packed: Tensor<"uint8">;
  /** float32 [⌈N · K / blockSize⌉]: blocks run on across columns. */
  readonly absmax: Tensor<"float32">;
}

export interface Bnb4Options {
  /** nf4 (default): quantiles of the normal distribution; fp4: sign, 2 exponent bits, 1 mantissa bit. */
  readonly quantType?: Bnb4Type;
  /** 16, 32, 64 (default), 128 or 256. */
  readonly blockSize?: number;
}

/**
 * Value of each code 0..15, within [−1, 1].
 * Source: Dettmers et al. 2023, arXiv:2305.14314, appendix E (nf4), and bitsandbytes' fp4 table.
 */
export const bnb4Levels: Readonly<Record<Bnb4Type, readonly number[]>> = {
  nf4: [
    -1, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1,
  ],
  fp4: [
    0, 0.005208333333, 0.66666667, 1, 0.33333333, 0.5, 0.16666667, 0.25, -0, -0.005208333333, -0.66666667, -1,
    -0.33333333, -0.5, -0.16666667, -0.25,
  ],
};

/**
 * Codes a weight [K, N] as MatMulBnb4 takes it: each block of the flattened transpose is divided by its largest
 * magnitude and every quotient takes the nearest level.
 * @throws `INVALID_OPTION`, `UNSUPPORTED_DTYPE`, `SHAPE_MISMATCH`, `NON_FINITE_WEIGHT` naming `name`
 */
export function quantizeBnb4(weight: Tensor, options: Bnb4Options = {}, name = "weight"): Bnb4Quantized {
  const { quantType = "nf4", blockSize = 64 } = options;
  if (quantType !== "nf4" && quantType !== "fp4") throw invalid("quantizeBnb4.quantType", quantType, "nf4 or fp4");
  checkBlockSize(blockSize, "quantizeBnb4");
  checkWeight(weight, name, 2);
  const [K, N] = weight.shape;
  const total = K * N;
  const packed = allocate("uint8", Math.ceil(total / 2));
  const absmax = allocate("float32", Math.ceil(total / blockSize));
  const { bounds, codes } = nearestLevels(quantType);
  const first = firstLevels(bounds);
  const block = new Float32Array(blockSize);
  let filled = 0;
  let position = 0;
  const flush = (): void => {
    let largest = 0;
    let check = 0;
    for (let i = 0; i < filled; i++) {
      const size = Math.abs(block[i]);
      if (size > largest) largest = size;
      check += size - size; // NaN as soon as one value is not finite
    }
    if (check !== 0) throw nonFiniteWeight(name, `in column ${Math.floor(position / K)} of [K, N]`);
    absmax[position / blockSize] = largest;
    const inverse = largest === 0 ? 0 : Math.fround(1 / largest);
    for (let i = 0; i < filled; i++) {
      // an absmax below 2^-128 has no float32 inverse
      const quotient = inverse < Number.POSITIVE_INFINITY ? block[i] * inverse : block[i] / largest;
      const x = clamp(Math.fround(quotient), -1, 1);
      let level = first[((x + 1) * buckets) | 0];
      while (x > bounds[level]) level++; // past the last bound the comparison is false
      const code = codes[level];
      packed[(position + i) >> 1] |= ((position + i) & 1) === 0 ? code << 4 : code;
    }
    position += filled;
    filled = 0;
  };
  visitColumns(weight, (_, count, values) => {
    const length = count * K;
    for (let from = 0; from < length; ) {
      const take = Math.min(blockSize - filled, length - from);
      block.set(values.subarray(from, from + take), filled);
      filled += take;
      from += take;
      if (filled === blockSize) flush();
    }
  });
  if (filled > 0) flush();
  return {
    quantType,
    blockSize,
    K,
    N,
    packed: fromData("uint8", packed, [packed.length]),
    absmax: fromData("float32", absmax, [absmax.length]),
  };
}

/** The weight that the codes stand for: float32 [K, N], a transposed view of rows [N, K]. */
export function dequantizeBnb4(quantized: Bnb4Quantized): Tensor<"float32"> {
  const { K, N, blockSize, packed, absmax } = quantized;
  const levels = Float32Array.from(bnb4Levels[quantized.quantType]);
  const data = allocate("float32", K * N);
  for (let i = 0; i < data.length; i++) {
    const byte = packed.data[i >> 1];
    data[i] = levels[(i & 1) === 0 ? byte >> 4 : byte & 15] * absmax.data[Math.floor(i / blockSize)];
  }
  return { dtype: "float32", data, shape: [K, N], stride: [1, K], offset: 0 };
}

/** Levels in rising order: `bounds[i]` lies halfway between level i and level i + 1, which has code `codes[i + 1]`. */
function nearestLevels(quantType: Bnb4Type): { bounds: Float32Array; codes: Uint8Array } {
  const levels = bnb4Levels[quantType];
  const order = levels.map((value, code) => ({ value, code }));
  // code 8 of fp4 is −0: it comes before code 0 and takes what rounds to zero from below
  order.sort((a, b) => a.value - b.value || b.code - a.code);
  const bounds = Float32Array.from({ length: 15 }, (_, i) => (order[i].value + order[i + 1].value) / 2);
  if (quantType === "fp4") bounds[7] = -(2 ** -149); // between −0 and 0: zero itself has code 0
  return { bounds, codes: Uint8Array.from(order, ({ code }) => code) };
}

/** Buckets of a unit: far narrower than the distance of most levels. */
const buckets = 1024;

/** For each bucket of [−1, 1] how many bounds surely lie below what falls into it. */
function firstLevels(bounds: Float32Array): Uint8Array {
  return Uint8Array.from({ length: 2 * buckets + 1 }, (_, bucket) => {
    const edge = (bucket - 1) / buckets - 1; // one bucket lower: x + 1 may have been rounded up
    return bounds.filter((bound) => bound < edge).length;
  });
}
