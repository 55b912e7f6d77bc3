import type { Kernels } from "@loomweight/kernels";
import { blockSize, reflectInto } from "./householder.ts";
import { unset } from "./workspace.ts";

/** a = Q B P^T: B upper bidiagonal, Q and P products of the reflectors whose vectors are rows of `left` and `right`. */
export interface Bidiagonal {
  readonly diagonal: Float64Array;
  /** One shorter than the diagonal. */
  readonly above: Float64Array;
  /** [n, m]; vector i starts at place i. */
  readonly left: Float64Array;
  readonly leftTaus: Float64Array;
  /** [n, n]; vector i starts at place i + 1. */
  readonly right: Float64Array;
  readonly rightTaus: Float64Array;
}

/** float64 values that `bidiagonalize` takes in kernel memory, besides `a`. */
export const bidiagonalizeRoom = (m: number, n: number): number => m * n + n * n + 2 * blockSize * (m + n + 4) + m + n;

/**
 * Householder bidiagonalisation of a [m, n], m >= n, in kernel memory, which it overwrites. Panels of columns are
 * reduced while the rest waits: a - V^T Y - X^T U is formed at the end of each, as one product (LAPACK's dlabrd).
 */
export function bidiagonalize(kernels: Kernels, a: Float64Array, m: number, n: number): Bidiagonal {
  const diagonal = new Float64Array(n);
  const above = new Float64Array(Math.max(0, n - 1));
  const leftTaus = new Float64Array(n);
  const rightTaus = new Float64Array(n);
  const left = unset(kernels, n * m);
  const right = unset(kernels, n * n);
  const width = Math.min(blockSize, n);
  const tall = unset(kernels, 2 * width * m); // rows: the vectors V, then X
  const wide = unset(kernels, 2 * width * n); // rows: Y, then the vectors U
  const small = unset(kernels, width);
  right.fill(0);

  /** target (from place `at`) -= sum over q < count of coefficient(q) times row q of `rows`. */
  const subtractRows = (
    target: Float64Array,
    at: number,
    rows: Float64Array,
    first: number,
    stride: number,
    count: number,
    coefficients: Float64Array,
  ) => {
    if (count === 0) return;
    const length = stride - at;
    const x = coefficients.subarray(0, count);
    kernels.gemvTransposed(target.subarray(at), rows.subarray(first * stride + at), stride, x, count, length, -1);
  };
  /** small[q] = row first + q of `rows` times x, from place `at` on. */
  const products = (rows: Float64Array, first: number, stride: number, count: number, x: Float64Array, at: number) => {
    if (count === 0) return;
    const out = small.subarray(0, count).fill(0);
    kernels.gemv(out, rows.subarray(first * stride + at), stride, x.subarray(at), count, stride - at, 1);
  };
  const gather = (rows: Float64Array, first: number, stride: number, count: number, at: number) => {
    for (let q = 0; q < count; q++) small[q] = rows[(first + q) * stride + at];
  };

  for (let start = 0; start < n; start += width) {
    const columns = Math.min(width, n - start);
    for (let p = 0; p < columns; p++) {
      const i = start + p;
      const v = tall.subarray(p * m, (p + 1) * m).fill(0);
      for (let r = i; r < m; r++) v[r] = a[r * n + i];
      gather(wide, 0, n, p, i);
      subtractRows(v, i, tall, 0, m, p, small);
      gather(wide, width, n, p, i);
      subtractRows(v, i, tall, width, m, p, small);
      const column = reflectInto(v.subarray(i));
      diagonal[i] = column.beta;
      leftTaus[i] = column.tau;
      left.set(v, i * m);
      if (i + 1 === n) continue;

      const at = i + 1;
      const length = n - at;
      const y = wide.subarray(p * n, (p + 1) * n).fill(0);
      kernels.gemvTransposed(y.subarray(at), a.subarray(i * n + at), n, v.subarray(i), m - i, length, 1);
      products(tall, 0, m, p, v, i);
      subtractRows(y, at, wide, 0, n, p, small);
      products(tall, width, m, p, v, i);
      subtractRows(y, at, wide, width, n, p, small);
      for (let j = at; j < n; j++) y[j] *= column.tau;

      const u = wide.subarray((width + p) * n, (width + p + 1) * n).fill(0);
      u.set(a.subarray(i * n + at, (i + 1) * n), at);
      gather(tall, 0, m, p + 1, i);
      subtractRows(u, at, wide, 0, n, p + 1, small);
      gather(tall, width, m, p, i);
      subtractRows(u, at, wide, width, n, p, small);
      const row = reflectInto(u.subarray(at));
      above[i] = row.beta;
      rightTaus[i] = row.tau;
      right.set(u, i * n);

      const x = tall.subarray((width + p) * m, (width + p + 1) * m).fill(0);
      kernels.gemv(x.subarray(at), a.subarray(at * n + at), n, u.subarray(at), m - at, length, 1);
      products(wide, 0, n, p + 1, u, at);
      subtractRows(x, at, tall, 0, m, p + 1, small);
      products(wide, width, n, p, u, at);
      subtractRows(x, at, tall, width, m, p, small);
      for (let r = at; r < m; r++) x[r] *= row.tau;
    }
    const next = start + columns;
    if (next >= n) break;
    const rest = a.subarray(next * n + next);
    const [down, across] = [tall.subarray(next), wide.subarray(next)];
    kernels.gemmStrided(rest, n, down, [1, m], across, [n, 1], m - next, n - next, 2 * width, -1);
  }
  return { diagonal, above, left, leftTaus, right, rightTaus };
}
