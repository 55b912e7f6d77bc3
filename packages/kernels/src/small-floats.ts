/** A binary float of 16 bits or fewer with sign. */
export interface SmallFloat {
  /** Stored mantissa bits. */
  readonly mantissa: number;
  readonly bits: number;
  /** Exponent of the smallest normal number. */
  readonly minimum: number;
  /** The first magnitude that is infinity or, where there is none, NaN: what rounds to it has that code. */
  readonly limit: number;
  /** The code written for NaN. */
  readonly nan: number;
  /** Whether codes at and above that of `limit` are infinity and NaNs (IEEE), or the last one alone is NaN. */
  readonly infinity: boolean;
}

export const smallFloats = {
  bfloat16: { mantissa: 7, bits: 16, minimum: -126, limit: 2 ** 128, nan: 0x7fc0, infinity: true },
  float16: { mantissa: 10, bits: 16, minimum: -14, limit: 65536, nan: 0x7e00, infinity: true },
  float8_e4m3fn: { mantissa: 3, bits: 8, minimum: -6, limit: 480, nan: 0x7f, infinity: false },
  float8_e5m2: { mantissa: 2, bits: 8, minimum: -14, limit: 65536, nan: 0x7f, infinity: true },
} as const satisfies Record<string, SmallFloat>;

/** 2^exponent for -1022 <= exponent <= 1023, exactly (`**` need not be). */
export function powerOfTwo(exponent: number): number {
  const words = new Uint32Array(2);
  words[1] = (exponent + 1023) << 20;
  return new Float64Array(words.buffer)[0];
}

/** A function from values to codes of `format`: rounded once, to nearest, ties to even. */
export function smallFloatCode(format: SmallFloat): (x: number) => number {
  const { mantissa, minimum, limit, nan, bits } = format;
  const double = new Float64Array(1);
  const words = new Uint32Array(double.buffer);
  return (x) => {
    if (Number.isNaN(x)) return nan;
    double[0] = Math.min(Math.abs(x), limit);
    const magnitude = double[0];
    const exponent = Math.max((words[1] >>> 20) - 1023, minimum);
    words[0] = 0;
    words[1] = (mantissa - exponent + 1023) << 20;
    const steps = magnitude * double[0] + 2 ** 52 - 2 ** 52; // the addition rounds to a whole number of steps
    const sign = x < 0 || Object.is(x, -0) ? 1 << (bits - 1) : 0;
    return sign | (((exponent - minimum) << mantissa) + steps);
  };
}

/** The code of the power of two nearest to x, ties to the even code; 0 gives the smallest, negatives and NaN 255. */
export function float8E8m0Code(x: number): number {
  if (!(x >= 0 && x < Number.POSITIVE_INFINITY)) return 255;
  const words = new Uint32Array(new Float64Array([x]).buffer);
  const code = (words[1] >>> 20) - 896;
  const above = (words[1] & 0xfffff) - 0x80000; // the fraction's upper bits against one half
  const up = above > 0 || (above === 0 && (words[0] > 0 || code % 2 !== 0));
  return Math.max(0, Math.min(255, code + (up ? 1 : 0)));
}

/** The value of each of the 256 codes of an 8-bit float. */
export function smallFloatValues(dtype: "float8_e4m3fn" | "float8_e5m2" | "float8_e8m0fnu"): Float64Array {
  if (dtype === "float8_e8m0fnu") {
    return Float64Array.from({ length: 256 }, (_, code) => (code === 255 ? Number.NaN : powerOfTwo(code - 127)));
  }
  const { mantissa, minimum, limit, infinity } = smallFloats[dtype];
  return Float64Array.from({ length: 256 }, (_, code) => {
    const sign = code & 128 ? -1 : 1;
    const exponent = (code & 127) >> mantissa;
    const fraction = code & ((1 << mantissa) - 1);
    const steps = exponent === 0 ? fraction : fraction + (1 << mantissa);
    const magnitude = steps * powerOfTwo(Math.max(exponent, 1) - 1 + minimum - mantissa);
    if (magnitude < limit) return sign * magnitude;
    return infinity && magnitude === limit ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  });
}
