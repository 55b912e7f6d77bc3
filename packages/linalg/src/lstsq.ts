import { invalidOption, type Tensor } from "@loomweight/tensor";
import { type Dense, frobenius, type Matrix, readMatrix, requireSameRows, writeMatrix } from "./core/dense.ts";
import { multiply, scaleRows } from "./core/multiply.ts";
import { machineEpsilon, requireNonNegative } from "./core/options.ts";
import type { ThinSvd } from "./core/small-svd.ts";
import { thinSvd } from "./core/thin-svd.ts";

export interface LstsqOptions {
  /**
   * Singular values of at most `rcond` times the largest count as 0; default max(m, n) times the rounding of the dtype
   * (2^-52, 2^-23 in float32).
   */
  readonly rcond?: number;
  /** Minimise |a x - b|^2 + ridge |x|^2 instead. Default 0. */
  readonly ridge?: number;
}

export interface Lstsq {
  /** [n, k] */
  readonly x: Matrix;
  /** Singular values above the cutoff. */
  readonly rank: number;
  /** |a x - b|, over all columns of b together. */
  readonly residualNorm: number;
}

/** Singular values at or below this are 0. Throws `INVALID_OPTION`. */
export function cutoff(name: string, a: Tensor, rcond: number | undefined, largest: number): number {
  const usual = Math.max(...a.shape) * machineEpsilon[a.dtype as Matrix["dtype"]];
  const factor = requireNonNegative(name, "rcond", rcond ?? usual);
  if (factor >= 1) throw invalidOption({ option: `${name}.rcond` }, rcond, "a number from 0 to below 1");
  return factor * largest;
}

/** x with least |a x - b|^2 + ridge |x|^2 and, of those, least |x|, from the SVD of a. */
export function leastSquares(
  { values, ut, vt }: ThinSvd,
  m: number,
  n: number,
  b: Dense,
  limit: number,
  ridge: number,
): Dense {
  const k = values.length;
  const projected = multiply({ rows: k, columns: m, values: ut }, b);
  // s / (s^2 + ridge), written so that squares neither underflow nor overflow
  const factors = values.map((s) => (s > limit ? 1 / (s + ridge / s) : 0));
  return multiply({ rows: k, columns: n, values: vt }, scaleRows(projected, factors), { transposeA: true });
}

/**
 * Least squares: x [n, k] with the least |a x - b| for a [m, n] of any rank and b [m, k]; among several the one of least
 * norm. By SVD, in float64: accurate for ill-conditioned a too, where the normal equations are not. Throws
 * `SHAPE_MISMATCH`, `UNSUPPORTED_DTYPE`, `NOT_FINITE`, `INVALID_OPTION`.
 */
export function lstsq(a: Tensor, b: Tensor, options: LstsqOptions = {}): Lstsq {
  const left = readMatrix(a, { function: "lstsq", operand: "a" });
  const right = readMatrix(b, { function: "lstsq", operand: "b" });
  requireSameRows("lstsq", left, right);
  const ridge = requireNonNegative("lstsq", "ridge", options.ridge ?? 0);
  const svd = thinSvd(left);
  const limit = cutoff("lstsq", a, options.rcond, svd.values[0]);
  const x = leastSquares(svd, left.rows, left.columns, right, limit, ridge);
  const residual = multiply(left, x).values.map((value, i) => value - right.values[i]);
  return {
    x: writeMatrix(x.values, [x.rows, x.columns], a.dtype as Matrix["dtype"]),
    rank: svd.values.filter((value) => value > limit).length,
    residualNorm: frobenius(residual),
  };
}
