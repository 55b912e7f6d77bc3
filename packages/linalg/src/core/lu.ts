import type { Dense } from "./dense.ts";
import { blockSize } from "./householder.ts";
import { unset, withWorkspace } from "./workspace.ts";

/** Up to that many entries a plain loop is faster than kernel memory. */
const small = 2048;

/** p a = l u: l unit lower and u upper, both in `lu` [n, n]; row i of p a is row `permutation[i]` of a. */
export interface Lu {
  readonly n: number;
  readonly lu: Float64Array;
  readonly permutation: Int32Array;
  /** 1 or -1: whether the permutation is even. */
  readonly parity: number;
}

/** LU factorisation with partial pivoting, in blocks of columns. A column without a pivot is left as it is: u is singular. */
export function luFactor({ rows: n, values }: Dense): Lu {
  return withWorkspace("solve", n * n, (kernels) => {
    const a = unset(kernels, n * n);
    a.set(values);
    const permutation = Int32Array.from({ length: n }, (_, i) => i);
    let parity = 1;
    for (let start = 0; start < n; start += blockSize) {
      const end = Math.min(n, start + blockSize);
      for (let i = start; i < end; i++) {
        let pivot = i;
        for (let r = i + 1; r < n; r++) if (Math.abs(a[r * n + i]) > Math.abs(a[pivot * n + i])) pivot = r;
        if (pivot !== i) {
          swapRows(a, n, i, pivot);
          [permutation[i], permutation[pivot]] = [permutation[pivot], permutation[i]];
          parity = -parity;
        }
        const head = a[i * n + i];
        if (head === 0) continue;
        for (let r = i + 1; r < n; r++) {
          const factor = a[r * n + i] / head;
          a[r * n + i] = factor;
          if (factor === 0) continue;
          for (let j = i + 1; j < end; j++) a[r * n + j] -= factor * a[i * n + j];
        }
      }
      if (end === n) break;
      // rows of u beside the block, then the rest of the matrix
      for (let i = start + 1; i < end; i++) {
        const factors = a.subarray(i * n + start, i * n + i);
        const row = a.subarray(i * n + end, (i + 1) * n);
        kernels.gemvTransposed(row, a.subarray(start * n + end), n, factors, i - start, n - end, -1);
      }
      const [l, u] = [a.subarray(end * n + start), a.subarray(start * n + end)];
      kernels.gemmStrided(a.subarray(end * n + end), n, l, [n, 1], u, [n, 1], n - end, n - end, end - start, -1);
    }
    return { n, lu: a.slice(), permutation, parity };
  });
}

function swapRows(a: Float64Array, n: number, i: number, j: number): void {
  for (let c = 0; c < n; c++) {
    const x = a[i * n + c];
    a[i * n + c] = a[j * n + c];
    a[j * n + c] = x;
  }
}

/** Solves a x = b for the factors of a. */
export function luSolve({ n, lu, permutation }: Lu, b: Dense): Dense {
  const { columns } = b;
  const x = new Float64Array(n * columns);
  for (let i = 0; i < n; i++) {
    const from = permutation[i] * columns;
    x.set(b.values.subarray(from, from + columns), i * columns);
  }
  const lower = solveTriangularInPlace({ rows: n, columns: n, values: lu }, x, columns, { lower: true, unit: true });
  return {
    rows: n,
    columns,
    values: solveTriangularInPlace({ rows: n, columns: n, values: lu }, lower, columns, { lower: false }),
  };
}

/**
 * t x = b (or t^T x = b) for triangular t, of which only the named triangle is read; blocks of rows, the rest by
 * products. Returns x [n, columns] in the array of `b`.
 */
export function solveTriangularInPlace(
  { rows: n, values }: Dense,
  b: Float64Array,
  columns: number,
  options: { readonly lower: boolean; readonly unit?: boolean; readonly transpose?: boolean },
): Float64Array {
  const { lower, unit = false, transpose = false } = options;
  const [rowStep, columnStep] = transpose ? [1, n] : [n, 1];
  const forward = lower !== transpose;
  /** Rows start .. end, of which the rows outside are taken off already; `subtract` takes off those inside. */
  const solve = (
    x: Float64Array,
    start: number,
    end: number,
    subtract: (i: number, from: number, to: number) => void,
  ) => {
    for (let step = 0; step < end - start; step++) {
      const i = forward ? start + step : end - 1 - step;
      if (step > 0) subtract(i, ...((forward ? [start, i] : [i + 1, end]) as [number, number]));
      if (unit) continue;
      const head = values[i * n + i];
      for (let j = 0; j < columns; j++) x[i * columns + j] /= head;
    }
  };
  if (n * columns <= small) {
    solve(b, 0, n, (i, from, to) => {
      for (let q = from; q < to; q++) {
        const factor = values[i * rowStep + q * columnStep];
        for (let j = 0; j < columns; j++) b[i * columns + j] -= factor * b[q * columns + j];
      }
    });
    return b;
  }
  return withWorkspace("solve", n * n + n * columns + blockSize, (kernels) => {
    const t = unset(kernels, n * n);
    t.set(values);
    const x = unset(kernels, n * columns);
    x.set(b);
    const factors = unset(kernels, blockSize);
    for (let done = 0; done < n; done += blockSize) {
      const width = Math.min(blockSize, n - done);
      const start = forward ? done : n - done - width;
      const end = start + width;
      solve(x, start, end, (i, from, to) => {
        const count = to - from;
        for (let q = 0; q < count; q++) factors[q] = values[i * rowStep + (from + q) * columnStep];
        const row = x.subarray(i * columns, (i + 1) * columns);
        kernels.gemvTransposed(
          row,
          x.subarray(from * columns),
          columns,
          factors.subarray(0, count),
          count,
          columns,
          -1,
        );
      });
      const [first, rest] = forward ? [end, n - end] : [0, start];
      if (rest === 0) break;
      const block = t.subarray(first * rowStep + start * columnStep);
      const out = x.subarray(first * columns);
      const own = x.subarray(start * columns);
      kernels.gemmStrided(out, columns, block, [rowStep, columnStep], own, [columns, 1], rest, columns, width, -1);
    }
    b.set(x);
    return b;
  });
}
