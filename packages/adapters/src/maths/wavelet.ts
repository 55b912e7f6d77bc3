/** Filters that put a signal together again from its two halves. */
export interface WaveletFilters {
  readonly low: readonly number[];
  readonly high: readonly number[];
}

/**
 * Reconstruction filters of Daubechies' wavelet with `moments` vanishing moments, 2 · moments taps, minimum phase:
 * (1 + z)^moments times the roots inside the unit circle of Σ C(moments − 1 + k, k) yᵏ, y = (2 − z − 1/z) / 4.
 * Daubechies 1988. Within 1e-10 of the published tables up to 10 moments.
 */
export function daubechies(moments: number): WaveletFilters {
  const coefficients = [1];
  for (let k = 1; k < moments; k++) coefficients.push((coefficients[k - 1] * (moments - 1 + k)) / k);
  let polynomial: Complex[] = [[1, 0]];
  for (const y of roots(coefficients)) polynomial = timesRoot(polynomial, insideRoot(y));
  for (let k = 0; k < moments; k++) polynomial = timesRoot(polynomial, [-1, 0]);
  const real = polynomial.map(([re]) => re);
  const sum = real.reduce((total, value) => total + value, 0);
  const low = real.map((value) => (value * Math.SQRT2) / sum);
  return { low, high: low.map((_, k) => (k % 2 === 0 ? 1 : -1) * low[low.length - 1 - k]) };
}

type Complex = readonly [number, number];

const multiply = ([a, b]: Complex, [c, d]: Complex): Complex => [a * c - b * d, a * d + b * c];
const subtract = ([a, b]: Complex, [c, d]: Complex): Complex => [a - c, b - d];
const divide = ([a, b]: Complex, [c, d]: Complex): Complex => {
  const size = c * c + d * d;
  return [(a * c + b * d) / size, (b * c - a * d) / size];
};

/** Coefficients times (1 − root / z), highest power first. */
function timesRoot(polynomial: readonly Complex[], root: Complex): Complex[] {
  return [...polynomial, [0, 0] as Complex].map((value, k) =>
    k === 0 ? value : subtract(value, multiply(root, polynomial[k - 1])),
  );
}

/** The root of z + 1/z = 2 − 4y with |z| < 1. */
function insideRoot(y: Complex): Complex {
  const half: Complex = [1 - 2 * y[0], -2 * y[1]];
  const square = subtract(multiply(half, half), [1, 0]);
  const size = Math.hypot(...square);
  const re = Math.sqrt((size + square[0]) / 2);
  const root: Complex = [re, re === 0 ? Math.sqrt(size) : square[1] / (2 * re)];
  const [plus, minus]: Complex[] = [
    [half[0] + root[0], half[1] + root[1]],
    [half[0] - root[0], half[1] - root[1]],
  ];
  // The two multiply to 1: the small one from the large one keeps its digits.
  return divide([1, 0], Math.hypot(...plus) > Math.hypot(...minus) ? plus : minus);
}

/** Roots of Σ coefficients[k] yᵏ by Durand and Kerner's iteration, polished by Newton's. */
function roots(coefficients: readonly number[]): Complex[] {
  const degree = coefficients.length - 1;
  const leading = coefficients[degree];
  const monic = coefficients.map((value) => value / leading);
  const at = (y: Complex, of: readonly number[]): Complex =>
    of.reduceRight<Complex>(
      (sum, value) => {
        const [re, im] = multiply(sum, y);
        return [re + value, im];
      },
      [0, 0],
    );
  let found: Complex[] = Array.from({ length: degree }, (_, k) => {
    const angle = (2 * Math.PI * k) / degree + 0.4;
    return [0.5 * Math.cos(angle), 0.5 * Math.sin(angle)];
  });
  for (let step = 0; step < 500; step++) {
    found = found.map((y, k) => {
      const apart = found.reduce<Complex>(
        (product, other, j) => (j === k ? product : multiply(product, subtract(y, other))),
        [1, 0],
      );
      return subtract(y, divide(at(y, monic), apart));
    });
  }
  const slope = monic.slice(1).map((value, k) => value * (k + 1));
  return found.map((y) => {
    let root = y;
    for (let step = 0; step < 3; step++) root = subtract(root, divide(at(root, monic), at(root, slope)));
    return root;
  });
}

/** Where one coefficient of a signal goes: entries `from`, `from + 1`, … get it times the taps of a filter. */
export interface Reach {
  readonly from: number;
  /** Which half of the coefficients it is in. */
  readonly half: "first" | "second";
}

/**
 * Where coefficient `index` of a signal of `size` goes in one step of reconstruction with filters of `taps` taps:
 * coefficients are padded to an even number that leaves `size` after the filters' ends are cut, and centred.
 */
export function reachOf(index: number, size: number, taps: number): Reach {
  const padded = size + taps - 2 + ((size + taps) % 2);
  const place = index + Math.floor((padded - size) / 2);
  const half = padded / 2;
  const cut = Math.floor((2 * taps - 3) / 2);
  const kept = padded - 2 + taps - 2 * cut;
  const begin = cut + Math.floor((kept - size) / 2);
  return { from: 2 * (place % half) - begin, half: place < half ? "first" : "second" };
}
