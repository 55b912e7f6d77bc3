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
  return cosSinNear(rest * turn + rest * turnRest, quarters);
}

/** pi / 2 in two parts; the last 20 bits of the upper one are 0, so that a count of quarter turns times it is exact. */
const quarterHigh = 1.5707963267341256;
const quarterLow = 6.077100506506192e-11;

/** cos and sin of x radians, |x| below 1e5; error below 2 ulp of 1 (of the result itself where x is small). */
export function cosSin(x: number): { cos: number; sin: number } {
  const quarters = Math.round(x / (quarterHigh + quarterLow));
  return cosSinNear(x - quarters * quarterHigh - quarters * quarterLow, quarters);
}

/** cos and sin of y + quarters · pi / 2, |y| at most pi / 4. */
function cosSinNear(y: number, quarters: number): { cos: number; sin: number } {
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

/**
 * e to the power x; error below 2 ulp, overflow gives Infinity, underflow 0.
 * With x = k ln 2 + r, |r| <= ln 2 / 2: 2^k times the Taylor sum of e^r.
 */
export function exponential(x: number): number {
  if (Number.isNaN(x)) return x;
  if (x > 709.8) return Number.POSITIVE_INFINITY;
  if (x < -745.2) return 0;
  const k = Math.round(x / (ln2High + ln2Low));
  const r = x - k * ln2High - k * ln2Low;
  let sum = 1 / 6227020800;
  for (const inverse of inverseFactorials) sum = sum * r + inverse;
  // In two steps: 2^k alone may be out of range where the product is not.
  const half = Math.trunc(k / 2);
  return (1 + r * sum) * 2 ** half * 2 ** (k - half);
}

/** 1/12!, …, 1/2!, 1/1!: the coefficients of (e^r - 1) / r below the highest. */
const inverseFactorials: readonly number[] = [
  1 / 479001600,
  1 / 39916800,
  1 / 3628800,
  1 / 362880,
  1 / 40320,
  1 / 5040,
  1 / 720,
  1 / 120,
  1 / 24,
  1 / 6,
  1 / 2,
  1,
];

/**
 * The angle in [0, pi] whose cosine is x; error below 4 ulp; NaN outside [-1, 1].
 * acos x = 2 atan √((1 − x) / (1 + x)), and atan is halved twice before its series is summed.
 */
export function arcCosine(x: number): number {
  if (!(x >= -1 && x <= 1)) return Number.NaN;
  if (x === -1) return Math.PI;
  const tangent = Math.sqrt((1 - x) / (1 + x));
  return 2 * (tangent > 1 ? Math.PI / 2 - arcTangent(1 / tangent) : arcTangent(tangent));
}

/** atan x for 0 <= x <= 1. */
function arcTangent(x: number): number {
  const halved = x / (1 + Math.sqrt(1 + x * x));
  const y = halved / (1 + Math.sqrt(1 + halved * halved)); // tan of a quarter of the angle, at most 0.2
  const z = -y * y;
  let sum = 1 / 23;
  for (let odd = 21; odd >= 1; odd -= 2) sum = sum * z + 1 / odd;
  return 4 * y * sum;
}
