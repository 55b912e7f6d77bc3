import type { Tensor } from "@loomweight/tensor";
import { type Matrix, readMatrix, transposed, writeMatrix } from "./core/dense.ts";
import { machineEpsilon, requireNonNegative, requireWhole } from "./core/options.ts";
import { thinQr } from "./core/qr.ts";
import { canonicalRowsInto } from "./core/signs.ts";
import { thinSvd } from "./core/thin-svd.ts";

export interface SvdOptions {
  /** Keep the largest `rank` singular values and their vectors; default all min(m, n). */
  readonly rank?: number;
  /** Complete u to [m, m] and vt to [n, n] with orthonormal vectors. Not together with `rank`. Default false. */
  readonly full?: boolean;
}

/** a = u diag(singularValues) vt. */
export interface Svd {
  /** [m, k], orthonormal columns; the entry of largest magnitude of each of the first min(m, n) is positive. */
  readonly u: Matrix;
  /** [k], descending. */
  readonly singularValues: Matrix;
  /** [k, n], orthonormal rows. */
  readonly vt: Matrix;
}

/**
 * Singular value decomposition of a [m, n]. Computed in float64: Jacobi rotations up to 24 columns, beyond that blocked
 * Householder bidiagonalisation and divide and conquer (Gu and Eisenstat 1995); the error of a singular value is a small
 * multiple of 2^-53 times the largest. The best approximation of rank r is the first r columns (Eckart and Young 1936).
 * Throws `SHAPE_MISMATCH`, `UNSUPPORTED_DTYPE`, `NOT_FINITE`, `INVALID_OPTION`.
 */
export function svd(a: Tensor, options: SvdOptions = {}): Svd {
  const matrix = readMatrix(a, { function: "svd", operand: "a" });
  const { rows: m, columns: n } = matrix;
  const most = Math.min(m, n);
  const rank = options.rank === undefined ? most : requireWhole("svd", "rank", options.rank, 1, most);
  const { values, ut, vt } = thinSvd(matrix, rank);
  canonicalRowsInto(ut, m, vt);
  const complete = options.full === true && options.rank === undefined;
  const left = complete ? completed(ut, most, m) : ut;
  const right = complete ? completed(vt, most, n) : vt;
  const dtype = a.dtype as Matrix["dtype"];
  const u = transposed({ rows: left.length / m, columns: m, values: left });
  return {
    u: writeMatrix(u.values, [u.rows, u.columns], dtype),
    singularValues: writeMatrix(values.slice(0, rank), [rank], dtype),
    vt: writeMatrix(right, [right.length / n, n], dtype),
  };
}

/** Orthonormal rows [k, n], completed to [n, n]. */
function completed(rows: Float64Array, k: number, n: number): Float64Array {
  if (k === n) return rows;
  const { qt } = thinQr(transposed({ rows: k, columns: n, values: rows }), "complete");
  qt.set(rows); // the first k agree up to rounding; the given ones stay
  return qt;
}

/** The singular values of a [m, n], descending: [min(m, n)]. Throws as `svd`. */
export function singularValues(a: Tensor): Matrix {
  const { values } = thinSvd(readMatrix(a, { function: "singularValues", operand: "a" }), 0);
  return writeMatrix(values, [values.length], a.dtype as Matrix["dtype"]);
}

/**
 * How many singular values are above `tolerance` times the largest; default max(m, n) times the rounding of the dtype
 * (2^-52, 2^-23 in float32). 0 for the zero matrix.
 */
export function numericalRank(a: Tensor, options: { readonly tolerance?: number } = {}): number {
  const matrix = readMatrix(a, { function: "numericalRank", operand: "a" });
  const usual = Math.max(matrix.rows, matrix.columns) * machineEpsilon[a.dtype as Matrix["dtype"]];
  const tolerance = requireNonNegative("numericalRank", "tolerance", options.tolerance ?? usual);
  const { values } = thinSvd(matrix, 0);
  return values.filter((value) => value > tolerance * values[0]).length;
}
