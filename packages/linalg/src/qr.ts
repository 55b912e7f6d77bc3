import type { Tensor } from "@loomweight/tensor";
import { type Matrix, readMatrix, scaled, transposed, writeMatrix } from "./core/dense.ts";
import { thinQr } from "./core/qr.ts";

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
