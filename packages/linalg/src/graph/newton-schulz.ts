import {
  abs,
  div,
  type GraphValue,
  matMul,
  max,
  mul,
  named,
  reduceMax,
  reduceSum,
  sqrt,
  sub,
  transpose,
  type Value,
} from "@loomweight/graph";
import { LoomweightError, type Tensor } from "@loomweight/tensor";
import { requireWhole } from "../core/options.ts";

export interface NewtonSchulzOptions {
  /**
   * Singular values from this share of the largest on become 1 to rounding; smaller ones are only pulled towards 1. It
   * sets the number of rounds (two products each): for 1024 columns 1e-3 takes 17, 1e-6 takes 26. Default 1e-4.
   */
  readonly smallest?: number;
  /** Rounds; default what `smallest` asks for. */
  readonly rounds?: number;
}

/**
 * Largest factor of a round. Up to the root of 3 would be faster by a fifth, but takes the largest singular values down
 * to the smallest, and their rounding errors with them: float32 then loses two digits.
 */
const boldest = 1.5;

/** Keeps 0 / 0 away: the zero matrix stays zero. */
const tiny = 1e-30;

/**
 * The orthogonal polar factor of x [m, n] by products alone, so that it runs on any engine, also in a training graph:
 * Newton-Schulz rounds x <- x (3/2 s - 1/2 s^3 x^T x), each with the factor s that is best for the singular values that
 * can be left (Chen and Chow 2014). A tensor is computed at once, in float64 and rounded to its dtype after each op; a
 * value of a graph adds nodes. Scaled by its largest entry first: tiny and huge matrices are safe. Throws
 * `SHAPE_MISMATCH` unless x has two axes of known size, `INVALID_OPTION`.
 */
export function newtonSchulz(x: Tensor, options?: NewtonSchulzOptions): Tensor;
export function newtonSchulz(x: Value, options?: NewtonSchulzOptions): Value;
export function newtonSchulz(x: Value, options: NewtonSchulzOptions = {}): Value {
  const [m, n] = sizesOf("newtonSchulz", x);
  const factors = roundFactors(options, Math.max(m, n));
  return named("newtonSchulz", () => {
    const near = div(x, max(reduceMax(abs(x)), tiny));
    // the largest singular value is at most the root of the product of the two sums
    const columns = reduceMax(reduceSum(abs(near), [0]));
    const rows = reduceMax(reduceSum(abs(near), [1]));
    let y: Value = div(near, max(sqrt(mul(columns, rows)), tiny));
    for (const s of factors) {
      const turned = transpose(y, [1, 0]);
      const cubic = m >= n ? matMul(y, matMul(turned, y)) : matMul(matMul(y, turned), y);
      y = sub(mul(y, 1.5 * s), mul(cubic, 0.5 * s ** 3));
    }
    return y;
  });
}

/** The two sizes of a matrix, or `SHAPE_MISMATCH`. */
export function sizesOf(name: string, x: Value): [number, number] {
  const { shape } = x as GraphValue;
  const [m, n] = shape;
  if (shape.length === 2 && typeof m === "number" && typeof n === "number" && m > 0 && n > 0) return [m, n];
  throw new LoomweightError({
    code: "SHAPE_MISMATCH",
    problem: `${name}: a matrix with sizes that are known is needed`,
    tensor: "x",
    expected: "[rows, columns]",
    found: `[${shape}]`,
  });
}

/** What a round makes of a singular value. */
function cubicAt(x: number, s: number): number {
  return 0.5 * s * x * (3 - s * s * x * x);
}

/** The factor of each round, from a bound on the smallest singular value that is followed through the rounds. */
function roundFactors({ smallest = 1e-4, rounds }: NewtonSchulzOptions, size: number): number[] {
  if (!(smallest > 0 && smallest < 1)) {
    throw new LoomweightError({
      code: "INVALID_OPTION",
      problem: "invalid value",
      option: "newtonSchulz.smallest",
      expected: "a number above 0 and below 1",
      found: String(smallest),
    });
  }
  const wanted = rounds === undefined ? undefined : requireWhole("newtonSchulz", "rounds", rounds, 1, 200);
  const factors: number[] = [];
  // sums of magnitudes exceed the largest singular value by up to the root of the size
  let low = smallest / Math.sqrt(size);
  while (wanted === undefined ? 1 - low > 1e-9 : factors.length < wanted) {
    const s = Math.min(boldest, Math.sqrt(3 / (1 + low + low * low)));
    factors.push(s);
    low = Math.min(cubicAt(low, s), cubicAt(1, s));
  }
  // one plain round: it squares what rounding has left
  if (wanted === undefined) factors.push(1);
  return factors;
}
