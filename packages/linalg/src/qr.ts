import { contiguousData, type Tensor, toFloat64 } from "@loomweight/tensor";
import { type Matrix, readMatrix, requireMatrix, scaled, transposed, writeMatrix } from "./core/dense.ts";
import { qrOfColumns, thinQr } from "./core/qr.ts";

/** a = q r. */
export interface Qr {
  /** [m, k], orthonormal columns; k = min(m, n), m where complete. */
  readonly q: Matrix;
  /** [k, n], upper triangular, with a diagonal of at least 0. */
  readonly r: Matrix;
}

/**
 * QR factorisation of a [m, n] by blocked Householder reflections, in float64. The diagonal of r is not negative, which
 * makes q and r unique where a has full column rank. `complete`: q [m, m] and r [m, n]. Throws `SHAPE_MISMATCH`,
 * `UNSUPPORTED_DTYPE`, `NOT_FINITE`.
 */
export function qr(a: Tensor, options: { readonly complete?: boolean } = {}): Qr {
  const { matrix, scale } = scaled(readMatrix(a, { function: "qr", operand: "a" }));
  const { rows: m, columns: n } = matrix;
  const k = options.complete === true ? m : Math.min(m, n);
  const { qt, r } = thinQr(matrix, options.complete === true ? "complete" : "thin");
  const upper = new Float64Array(k * n);
  for (let i = 0; i < r.length; i++) upper[i] = r[i] * scale;
  const q = transposed({ rows: k, columns: m, values: qt });
  const dtype = a.dtype as Matrix["dtype"];
  return { q: writeMatrix(q.values, [m, k], dtype), r: writeMatrix(upper, [k, n], dtype) };
}

/** a = l q. */
export interface Lq {
  /** [m, k], lower triangular, with a diagonal of at least 0; k = min(m, n). */
  readonly l: Matrix;
  /** [k, n], orthonormal rows. */
  readonly q: Matrix;
}

/**
 * LQ factorisation of a [m, n], the QR of its transpose: for matrices of few long rows, whose transpose is never formed.
 * float64. Throws as `qr`.
 */
export function lq(a: Tensor): Lq {
  requireMatrix(a, { function: "lq", operand: "a" });
  // float64 is read where it lies: nothing is written to it.
  const values = a.dtype === "float64" ? (contiguousData(a) as Float64Array) : toFloat64(a);
  const { matrix, scale } = scaled({ rows: a.shape[0], columns: a.shape[1], values });
  const { rows: m, columns: n } = matrix;
  const k = Math.min(m, n);
  const { qt, r } = qrOfColumns(matrix); // a^T = (qt)^T r, r [k, m]
  const lower = new Float64Array(m * k);
  for (let i = 0; i < m; i++) for (let j = 0; j < Math.min(i + 1, k); j++) lower[i * k + j] = r[j * m + i] * scale;
  const dtype = a.dtype as Matrix["dtype"];
  return { l: writeMatrix(lower, [m, k], dtype), q: writeMatrix(qt, [k, n], dtype) };
}
