import type { Dense } from "./dense.ts";
import { unset, withWorkspace } from "./workspace.ts";

/** Below this many multiplications a plain loop is faster than a copy into kernel memory. */
const small = 16_384;

/** op(a) x op(b) in float64, op = the matrix or, where asked, its transpose. */
export function multiply(
  a: Dense,
  b: Dense,
  options: { readonly transposeA?: boolean; readonly transposeB?: boolean } = {},
): Dense {
  const { transposeA = false, transposeB = false } = options;
  const [m, k] = transposeA ? [a.columns, a.rows] : [a.rows, a.columns];
  const n = transposeB ? b.rows : b.columns;
  const [aRow, aColumn] = transposeA ? [1, a.columns] : [a.columns, 1];
  const [bRow, bColumn] = transposeB ? [1, b.columns] : [b.columns, 1];
  if (m * n * k <= small) {
    const values = new Float64Array(m * n);
    for (let i = 0; i < m; i++) {
      for (let p = 0; p < k; p++) {
        const factor = a.values[i * aRow + p * aColumn];
        for (let j = 0; j < n; j++) values[i * n + j] += factor * b.values[p * bRow + j * bColumn];
      }
    }
    return { rows: m, columns: n, values };
  }
  return withWorkspace("multiply", a.values.length + b.values.length + m * n, (kernels) => {
    const x = unset(kernels, a.values.length);
    x.set(a.values);
    const y = unset(kernels, b.values.length);
    y.set(b.values);
    const out = kernels.allocateValues(m * n);
    kernels.gemmStrided(out, n, x, [aRow, aColumn], y, [bRow, bColumn], m, n, k, 1);
    return { rows: m, columns: n, values: out.slice() };
  });
}

/** The matrix with row i multiplied by factors[i]. */
export function scaleRows({ rows, columns, values }: Dense, factors: Float64Array): Dense {
  const out = new Float64Array(values.length);
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++) out[i * columns + j] = factors[i] * values[i * columns + j];
  }
  return { rows, columns, values: out };
}
