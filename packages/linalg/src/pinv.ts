import type { Tensor } from "@loomweight/tensor";
import { identity, type Matrix, readMatrix, writeMatrix } from "./core/dense.ts";
import { thinSvd } from "./core/thin-svd.ts";
import { cutoff, leastSquares } from "./lstsq.ts";

/**
 * The Moore-Penrose inverse [n, m] of a [m, n], by SVD; singular values of at most `rcond` times the largest count as 0
 * (default as in `lstsq`). Throws `SHAPE_MISMATCH`, `UNSUPPORTED_DTYPE`, `NOT_FINITE`, `INVALID_OPTION`.
 */
export function pinv(a: Tensor, options: { readonly rcond?: number } = {}): Matrix {
  const { rows: m, columns: n, ...rest } = readMatrix(a, { function: "pinv", operand: "a" });
  const svd = thinSvd({ rows: m, columns: n, ...rest });
  const limit = cutoff("pinv", a, options.rcond, svd.values[0]);
  const { values } = leastSquares(svd, m, n, identity(m), limit, 0);
  return writeMatrix(values, [n, m], a.dtype as Matrix["dtype"]);
}
