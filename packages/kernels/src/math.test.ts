import fc from "fast-check";
import { expect, test } from "vitest";
import { arcCosine, cosSin, cosSinTurns, exponential, logarithm } from "./math.ts";

// An independent reference: the same functions in fixed point with 160 fractional bits.
const one = 1n << 160n;

function toFixed(x: number): bigint {
  const bits = new BigUint64Array(new Float64Array([Math.abs(x)]).buffer)[0];
  const exponent = Number(bits >> 52n);
  const fraction = bits & 0xfffffffffffffn;
  const mantissa = exponent === 0 ? fraction : fraction | (1n << 52n);
  const shift = BigInt(160 - 52 + Math.max(exponent, 1) - 1023);
  const fixed = shift >= 0n ? mantissa << shift : mantissa >> -shift;
  return x < 0 ? -fixed : fixed;
}

function atanhFixed(s: bigint): bigint {
  const square = (s * s) / one;
  let power = s;
  let sum = 0n;
  for (let n = 1n; power !== 0n; n += 2n) {
    sum += power / n;
    power = (power * square) / one;
  }
  return sum;
}

const ln2 = 2n * atanhFixed(one / 3n);

/** ln x for 2^-40 <= x <= 2^40. */
function logFixed(x: number): bigint {
  let exponent = 0;
  let m = x;
  while (m >= 2) {
    m /= 2;
    exponent++;
  }
  while (m < 1) {
    m *= 2;
    exponent--;
  }
  const fixed = toFixed(m);
  return BigInt(exponent) * ln2 + 2n * atanhFixed(((fixed - one) * one) / (fixed + one));
}

function arctanInverse(x: bigint): bigint {
  let power = one / x;
  let sum = 0n;
  for (let n = 1n; power !== 0n; n += 2n) {
    sum += n % 4n === 1n ? power / n : -power / n;
    power /= x * x;
  }
  return sum;
}

const pi = 4n * (4n * arctanInverse(5n) - arctanInverse(239n)); // Machin

function cosSinFixed(t: number): { cos: bigint; sin: bigint } {
  const y = (2n * pi * toFixed(t)) / one;
  let term = one;
  let [cos, sin] = [0n, 0n];
  for (let n = 0n; term !== 0n; n++) {
    if (n % 2n === 0n) cos += n % 4n === 0n ? term : -term;
    else sin += n % 4n === 1n ? term : -term;
    term = (term * y) / one / (n + 1n);
  }
  return { cos, sin };
}

/** |found - wanted| in units of the last place of `wanted` (values below 2^-90 count as 2^-90: the reference is not finer). */
function ulps(found: number, wanted: bigint): number {
  const magnitude = Math.max(Number(wanted < 0n ? -wanted : wanted) / 2 ** 160, 2 ** -90);
  const ulp = 2 ** (Math.floor(Math.log2(magnitude)) - 52);
  const difference = toFixed(found) - wanted;
  return Number(difference < 0n ? -difference : difference) / 2 ** 160 / ulp;
}

test("the logarithm is within 1 ulp", () => {
  let worst = 0;
  fc.assert(
    fc.property(
      fc.double({ min: 2 ** -40, max: 2 ** 40, noNaN: true }),
      fc.double({ min: 0.5, max: 2, noNaN: true }),
      (x, near) => {
        for (const each of [x, near]) worst = Math.max(worst, ulps(logarithm(each), logFixed(each)));
      },
    ),
    { numRuns: 3000 },
  );
  expect(worst).toBeLessThan(1);
});

test("the logarithm of powers of two, subnormals and special values", () => {
  expect(logarithm(1)).toBe(0);
  expect(logarithm(2)).toBe(Math.LN2);
  expect(logarithm(5e-324)).toBeCloseTo(-744.4400719213812, 12);
  expect(logarithm(Number.MAX_VALUE)).toBeCloseTo(709.782712893384, 12);
  expect(logarithm(0)).toBe(Number.NEGATIVE_INFINITY);
  expect(logarithm(Number.POSITIVE_INFINITY)).toBe(Number.POSITIVE_INFINITY);
  expect(logarithm(-1)).toBeNaN();
  expect(logarithm(Number.NaN)).toBeNaN();
});

/** What uniforms give, multiples of 2^-53 below 1, with many near the quarters, where one of the two is small. */
const turns = fc.oneof(
  fc.maxSafeNat().map((steps) => steps / 2 ** 53),
  fc
    .tuple(fc.nat(3), fc.nat(2 ** 30), fc.nat(45))
    .map(([quarter, steps, shift]) => quarter / 4 + ((steps * 2 ** shift) % 2 ** 50) / 2 ** 53),
);

test("cosine and sine of turns are within 2 ulp", () => {
  let worst = 0;
  fc.assert(
    fc.property(turns, (t) => {
      const found = cosSinTurns(t);
      const wanted = cosSinFixed(t);
      worst = Math.max(worst, ulps(found.cos, wanted.cos), ulps(found.sin, wanted.sin));
    }),
    { numRuns: 3000 },
  );
  expect(worst).toBeLessThan(2);
});

test("quarters of a turn are exact", () => {
  expect(cosSinTurns(0)).toEqual({ cos: 1, sin: 0 });
  expect(cosSinTurns(0.25)).toEqual({ cos: -0, sin: 1 });
  expect(cosSinTurns(0.5)).toEqual({ cos: -1, sin: -0 });
  expect(cosSinTurns(0.75)).toEqual({ cos: 0, sin: -1 });
});

const ulp = (x: number) => 2 ** (Math.max(-1022, Math.floor(Math.log2(Math.abs(x)))) - 52);

test("the exponential is within 3 units in the last place of the engine's, at every scale", () => {
  fc.assert(
    fc.property(fc.double({ min: -740, max: 709, noNaN: true }), (x) => {
      // The engine's own may be off by one.
      expect(Math.abs(exponential(x) - Math.exp(x))).toBeLessThanOrEqual(3 * ulp(Math.exp(x)) + 5e-324);
    }),
    { numRuns: 5000, seed: 11 },
  );
  expect([exponential(0), exponential(1000), exponential(-1000)]).toEqual([1, Number.POSITIVE_INFINITY, 0]);
  expect(exponential(Number.NaN)).toBeNaN();
  expect(exponential(Number.NEGATIVE_INFINITY)).toBe(0);
});

test("the arc cosine undoes the cosine, ends included", () => {
  fc.assert(
    fc.property(fc.double({ min: -1, max: 1, noNaN: true }), (x) => {
      expect(Math.abs(arcCosine(x) - Math.acos(x))).toBeLessThanOrEqual(5 * ulp(Math.acos(x)));
    }),
    { numRuns: 5000, seed: 12 },
  );
  expect([arcCosine(1), arcCosine(-1)]).toEqual([0, Math.PI]);
  expect(arcCosine(1.0000001)).toBeNaN();
});

test("cosine and sine of radians are within 3e-16 of the engine's, and relative for small angles", () => {
  fc.assert(
    fc.property(fc.double({ min: -1000, max: 1000, noNaN: true }), (x) => {
      const { cos, sin } = cosSin(x);
      expect(Math.abs(cos - Math.cos(x))).toBeLessThanOrEqual(3e-16);
      expect(Math.abs(sin - Math.sin(x))).toBeLessThanOrEqual(3e-16);
      const small = x / 1e6;
      expect(Math.abs(cosSin(small).sin - Math.sin(small))).toBeLessThanOrEqual(2 * ulp(Math.sin(small)) + 5e-324);
    }),
    { numRuns: 5000, seed: 13 },
  );
});
