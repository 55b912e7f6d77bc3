import type { Dense } from "./dense.ts";
import { normalizeRows, orthogonalizeRows } from "./jacobi.ts";

/** a = ut^T diag(values) vt, values descending; rows of ut [k, rows] and vt [k, columns], k = min(rows, columns). */
export interface ThinSvd {
  readonly values: Float64Array;
  readonly ut: Float64Array;
  readonly vt: Float64Array;
}

/** Jacobi SVD of a square matrix scaled to about 1. */
export function jacobiSvd({ rows: n, values }: Dense): ThinSvd {
  // rows of a^T are turned orthogonal: J a^T = diag(s) U^T, so a = U diag(s) J
  const g = new Float64Array(n * n);
  for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) g[j * n + i] = values[i * n + j];
  const j = orthogonalizeRows(g, n, n);
  const norms = normalizeRows(g, n, n);
  const order = Array.from({ length: n }, (_, i) => i).sort((x, y) => norms[y] - norms[x] || x - y);
  const ut = new Float64Array(n * n);
  const vt = new Float64Array(n * n);
  order.forEach((from, to) => {
    ut.set(g.subarray(from * n, (from + 1) * n), to * n);
    vt.set(j.subarray(from * n, (from + 1) * n), to * n);
  });
  return { values: Float64Array.from(order, (i) => norms[i]), ut, vt };
}
