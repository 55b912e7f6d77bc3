import type { Tensor } from "@loomweight/tensor";
import { type Dense, type Matrix, readMatrix, writeMatrix } from "./core/dense.ts";
import { multiply, scaleRows } from "./core/multiply.ts";
import { thinSvd } from "./core/thin-svd.ts";

/** a = u h where a has at least as many rows as columns, else a = h u. */
export interface Polar {
  /** [m, n], the nearest matrix with orthonormal columns (rows). */
  readonly u: Matrix;
  /** Symmetric positive semidefinite, [n, n] or [m, m]. */
  readonly h: Matrix;
}

/** The orthogonal polar factor u vt of a [m, n], for values. */
export function orthogonalFactor(matrix: Dense): Dense {
  const { values, ut, vt } = thinSvd(matrix);
  const k = values.length;
  return multiply(
    { rows: k, columns: matrix.rows, values: ut },
    { rows: k, columns: matrix.columns, values: vt },
    { transposeA: true },
  );
}

/**
 * Polar decomposition of a [m, n], exact by SVD in float64: u = U V^T, h = V S V^T (U S U^T). u is unique where a has full
 * rank; else it is one of the nearest. `newtonSchulz` gives u by products alone, for graphs. Throws `SHAPE_MISMATCH`,
 * `UNSUPPORTED_DTYPE`, `NOT_FINITE`.
 */
export function polar(a: Tensor): Polar {
  const matrix = readMatrix(a, { function: "polar", operand: "a" });
  const { rows: m, columns: n } = matrix;
  const { values, ut, vt } = thinSvd(matrix);
  const k = values.length;
  const left = { rows: k, columns: m, values: ut };
  const right = { rows: k, columns: n, values: vt };
  const u = multiply(left, right, { transposeA: true });
  const side = m >= n ? right : left;
  const h = multiply(side, scaleRows(side, values), { transposeA: true });
  for (let i = 0; i < k; i++) {
    for (let j = 0; j < i; j++) {
      const mean = 0.5 * (h.values[i * k + j] + h.values[j * k + i]);
      h.values[i * k + j] = mean;
      h.values[j * k + i] = mean;
    }
  }
  const dtype = a.dtype as Matrix["dtype"];
  return { u: writeMatrix(u.values, [m, n], dtype), h: writeMatrix(h.values, [k, k], dtype) };
}
