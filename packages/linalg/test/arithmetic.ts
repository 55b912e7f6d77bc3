import { type Tensor, toFloat64 } from "@loomweight/tensor";

/** Plain loops, none of the package's: what checks it must not share its faults. Row-major. */
export interface Plain {
  readonly rows: number;
  readonly columns: number;
  readonly values: Float64Array;
}

export function plain(tensor: Tensor): Plain {
  const [rows, columns] = tensor.shape.length === 1 ? [tensor.shape[0], 1] : tensor.shape;
  return { rows, columns, values: toFloat64(tensor) };
}

export function times(a: Plain, b: Plain): Plain {
  if (a.columns !== b.rows) throw new Error(`[${a.rows}, ${a.columns}] times [${b.rows}, ${b.columns}]`);
  const n = b.columns;
  const values = new Float64Array(a.rows * n);
  for (let i = 0; i < a.rows; i++) {
    for (let k = 0; k < a.columns; k++) {
      const factor = a.values[i * a.columns + k];
      for (let j = 0; j < n; j++) values[i * n + j] += factor * b.values[k * n + j];
    }
  }
  return { rows: a.rows, columns: n, values };
}

export function turned({ rows, columns, values }: Plain): Plain {
  const out = new Float64Array(values.length);
  for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) out[j * rows + i] = values[i * columns + j];
  return { rows: columns, columns: rows, values: out };
}

export function diagonal(entries: ArrayLike<number>): Plain {
  const n = entries.length;
  const values = new Float64Array(n * n);
  for (let i = 0; i < n; i++) values[i * n + i] = entries[i];
  return { rows: n, columns: n, values };
}

export const eye = (n: number): Plain => diagonal(new Float64Array(n).fill(1));

export function minus(a: Plain, b: Plain): Plain {
  if (a.rows !== b.rows || a.columns !== b.columns) {
    throw new Error(`[${a.rows}, ${a.columns}] beside [${b.rows}, ${b.columns}]`);
  }
  return { ...a, values: a.values.map((value, i) => value - b.values[i]) };
}

/** Largest |entry|; NaN where one is NaN. */
export function size({ values }: Plain): number {
  let largest = 0;
  for (const value of values) if (!(Math.abs(value) <= largest)) largest = Math.abs(value);
  return largest;
}

/** Largest |a - b|; the shapes must agree. */
export const gap = (a: Plain, b: Plain): number => size(minus(a, b));

/** Euclidean norm over all entries. */
export function norm(a: Plain): number {
  const largest = size(a);
  if (largest === 0) return 0;
  let sum = 0;
  for (const value of a.values) sum += (value / largest) ** 2;
  return Math.sqrt(sum) * largest;
}
