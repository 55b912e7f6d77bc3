import type { Kernels } from "@loomweight/kernels";
import { blockSize, reflectInto } from "./householder.ts";
import { unset } from "./workspace.ts";

/** a = Q T Q^T: T symmetric tridiagonal, Q the product of the reflectors whose vectors are rows of `vectors`. */
export interface Tridiagonal {
  readonly diagonal: Float64Array;
  /** One shorter than the diagonal. */
  readonly beside: Float64Array;
  /** [n, n]; vector i starts at place i + 1; n - 1 of them. */
  readonly vectors: Float64Array;
  readonly taus: Float64Array;
}

/** float64 values that `tridiagonalize` takes in kernel memory, besides `a`. */
export const tridiagonalizeRoom = (n: number): number => n * n + 4 * blockSize * (n + 4) + 2 * n;

/**
 * Householder tridiagonalisation of symmetric a [n, n] in kernel memory; reads and overwrites the lower triangle.
 * Panels of columns are reduced while the rest waits for a - V^T W - W^T V (LAPACK's dlatrd).
 */
export function tridiagonalize(kernels: Kernels, a: Float64Array, n: number): Tridiagonal {
  const diagonal = new Float64Array(n);
  const beside = new Float64Array(Math.max(0, n - 1));
  const taus = new Float64Array(n);
  const vectors = unset(kernels, n * n);
  const width = Math.min(blockSize, n);
  const down = unset(kernels, 2 * width * n); // rows: V, then W
  const across = unset(kernels, 2 * width * n); // rows: W, then V
  const small = unset(kernels, 2 * width);
  const column = unset(kernels, n);
  vectors.fill(0);
  /** target -= V^T and W^T times the coefficients in `small`, from place `at` on, for the first `count` vectors. */
  const subtractRows = (target: Float64Array, at: number, count: number) => {
    for (const half of [0, width]) {
      const coefficients = small.subarray(half, half + count);
      const rows = down.subarray(half * n + at);
      kernels.gemvTransposed(target.subarray(at), rows, n, coefficients, count, n - at, -1);
    }
  };
  for (let start = 0; start < n; start += width) {
    const columns = Math.min(width, n - start);
    down.fill(0);
    across.fill(0);
    for (let p = 0; p < columns; p++) {
      const i = start + p;
      for (let r = i; r < n; r++) column[r] = a[r * n + i];
      for (let q = 0; q < p; q++) {
        small[q] = across[q * n + i];
        small[width + q] = across[(width + q) * n + i];
      }
      subtractRows(column, i, p);
      diagonal[i] = column[i];
      if (i + 1 === n) break;
      const at = i + 1;
      const v = down.subarray(p * n, (p + 1) * n);
      v.set(column.subarray(at), at);
      const { beta, tau } = reflectInto(v.subarray(at));
      beside[i] = beta;
      taus[i] = tau;
      vectors.set(v, i * n);
      across.set(v, (width + p) * n);
      // w = tau (A v - V^T (W v) - W^T (V v)), then minus half of its part along v
      const w = column.fill(0).subarray(at);
      const x = v.subarray(at);
      kernels.symv(w, a.subarray(at * n + at), n, x, n - at, 1);
      small.fill(0);
      for (const half of [0, width]) {
        const products = small.subarray(half, half + p);
        kernels.gemv(products, across.subarray(half * n + at), n, x, p, n - at, 1);
      }
      subtractRows(column, at, p);
      let along = 0;
      for (let r = 0; r < w.length; r++) {
        w[r] *= tau;
        along += w[r] * x[r];
      }
      const half = -0.5 * tau * along;
      for (let r = 0; r < w.length; r++) w[r] += half * x[r];
      down.set(w, (width + p) * n + at);
      across.set(w, p * n + at);
    }
    const next = start + columns;
    if (next >= n) break;
    const strip = 128;
    for (let r = next; r < n; r += strip) {
      const tall = Math.min(strip, n - r);
      const out = a.subarray(r * n + next);
      const [left, right] = [down.subarray(r), across.subarray(next)];
      kernels.gemmStrided(out, n, left, [1, n], right, [n, 1], tall, r + tall - next, 2 * width, -1);
    }
  }
  return { diagonal, beside, vectors, taus };
}
