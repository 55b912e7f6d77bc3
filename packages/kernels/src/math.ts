// `Math.log`, `Math.sin` and their like may differ between engines in the last bit. These use additions,
// multiplications and divisions alone, which IEEE 754 fixes, so their results are the same bytes everywhere.

// Scratch for taking floats apart; nothing is kept in it between calls.
const double = /* @__PURE__ */ new Float64Array(1);
const words = /* @__PURE__ */ new Uint32Array(double.buffer);

/** ln 2 in two parts; the last 21 bits of the upper one are 0, so that an exponent times it is exact. */
const ln2High = 0.6931471803691238;
const ln2Low = 1.9082149292705877e-10;

/**
 * Natural logarithm; error below 1 ulp. 0 gives -Infinity, negatives and NaN give NaN.
 * With x = 2^k (1 + f), sqrt(1/2) <= 1 + f < sqrt(2), and s = f / (2 + f): ln(1 + f) = 2 (s + s^3/3 + s^5/5 + …).
 */
export function logarithm(x: number): number {
  if (!(x > 0)) return x === 0 ? Number.NEGATIVE_INFINITY : Number.NaN;
  if (x === Number.POSITIVE_INFINITY) return x;
  double[0] = x < 2 ** -1022 ? x * 2 ** 54 : x;
  let exponent = (words[1] >>> 20) - 1023 - (x < 2 ** -1022 ? 54 : 0);
  words[1] = (words[1] & 0xfffff) | 0x3ff00000;
  let mantissa = double[0];
  if (mantissa > Math.SQRT2) {
    mantissa /= 2;
    exponent++;
  }
  const f = mantissa - 1;
  const s = f / (2 + f);
  const z = s * s;
  const high = z * (2 / 15 + z * (2 / 17 + z * (2 / 19 + z * (2 / 21 + z * (2 / 23)))));
  const series = z * (2 / 3 + z * (2 / 5 + z * (2 / 7 + z * (2 / 9 + z * (2 / 11 + z * (2 / 13 + high))))));
  const square = (f * f) / 2;
  return exponent * ln2High - (square - (s * (square + series) + exponent * ln2Low) - f);
}

/** 2 pi; what it lacks is 2.4e-16. */
const turn = 6.283185307179586;
const turnRest = 2.4492935982947064e-16;

/** cos and sin of 2 pi t for finite t; error below 2 ulp of each. */
export function cosSinTurns(t: number): { cos: number; sin: number } {
  const quarters = Math.round(4 * t);
  const rest = t - quarters / 4; // exact, at most 1/8
  const y = rest * turn + rest * turnRest;
  const z = y * y;
  const sineHigh =
    1 / 362880 + z * (-1 / 39916800 + z * (1 / 6227020800 + z * (-1 / 1307674368000 + z / 355687428096000)));
  const sineSeries = z * (-1 / 6 + z * (1 / 120 + z * (-1 / 5040 + z * sineHigh)));
  const cosineHigh =
    -1 / 3628800 + z * (1 / 479001600 + z * (-1 / 87178291200 + z * (1 / 20922789888000 - z / 6402373705728000)));
  const cosineSeries = z * (1 / 24 + z * (-1 / 720 + z * (1 / 40320 + z * cosineHigh)));
  const sine = y + y * sineSeries;
  const cosine = 1 - (z / 2 - z * cosineSeries);
  switch (((quarters % 4) + 4) % 4) {
    case 0:
      return { cos: cosine, sin: sine };
    case 1:
      return { cos: -sine, sin: cosine };
    case 2:
      return { cos: -cosine, sin: -sine };
    default:
      return { cos: sine, sin: -cosine };
  }
}
