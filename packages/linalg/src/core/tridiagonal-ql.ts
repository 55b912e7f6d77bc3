import { LoomweightError } from "@loomweight/tensor";
import { rotate } from "./jacobi.ts";

const epsilon = 2 ** -52;
const mostSteps = 60;

/**
 * Eigenvalues of a symmetric tridiagonal matrix by QL with implicit shifts (tql2: Bowdler, Martin, Reinsch, Wilkinson
 * 1968). `d` becomes the eigenvalues, in no order; the rows of `z` [n, n] are rotated along, so that rows that were
 * unit vectors become the eigenvectors. `beside` is one shorter than `d` and stays as it is.
 * `norm`: what values are small against; for a part of a matrix that of the whole.
 */
export function tridiagonalQl(
  d: Float64Array,
  beside: Float64Array,
  z: Float64Array | undefined,
  norm = tridiagonalNorm(d, beside),
): void {
  const n = d.length;
  const width = z === undefined ? 0 : z.length / n;
  const e = new Float64Array(n); // ends in a 0
  e.set(beside);
  const nothing = 0.5 * epsilon * norm; // beside small eigenvalues: absolute accuracy is what QL gives
  for (let l = 0; l < n; l++) {
    for (let step = 0; ; step++) {
      let m = l;
      while (m < n - 1 && Math.abs(e[m]) > Math.max(nothing, epsilon * (Math.abs(d[m]) + Math.abs(d[m + 1])))) m++;
      if (m === l) break;
      if (step === mostSteps) {
        throw new LoomweightError({
          code: "NOT_CONVERGED",
          problem: `eigh: an eigenvalue was not found in ${mostSteps} steps`,
        });
      }
      let g = (d[l + 1] - d[l]) / (2 * e[l]);
      const root = Math.sqrt(g * g + 1);
      g = d[m] - d[l] + e[l] / (g + (g >= 0 ? root : -root));
      let [s, c, p] = [1, 1, 0];
      let i = m - 1;
      for (; i >= l; i--) {
        const f = s * e[i];
        const b = c * e[i];
        const r = Math.sqrt(f * f + g * g);
        e[i + 1] = r;
        if (r === 0) break; // the matrix has come apart here
        s = f / r;
        c = g / r;
        g = d[i + 1] - p;
        const t = (d[i] - g) * s + 2 * c * b;
        p = s * t;
        d[i + 1] = g + p;
        g = c * t - b;
        if (z !== undefined) rotate(z, i * width, (i + 1) * width, width, c, s);
      }
      if (i >= l) {
        d[i + 1] -= p;
        e[m] = 0;
        continue;
      }
      d[l] -= p;
      e[l] = g;
      e[m] = 0;
    }
  }
}

/** A norm of a symmetric tridiagonal matrix, within a factor of 3. */
export function tridiagonalNorm(d: Float64Array, beside: Float64Array): number {
  let norm = 0;
  for (let i = 0; i < d.length; i++) norm = Math.max(norm, Math.abs(d[i]) + Math.abs(beside[i] ?? 0));
  return norm;
}
