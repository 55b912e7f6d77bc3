import type { Kernels } from "@loomweight/kernels";
import { unset } from "./workspace.ts";

/** Where the entries of a row that are not 0 lie: before the split, after it, or both. */
export const side = { left: 0, both: 1, right: 2 } as const;

/** A square block of rows inside a matrix: rows and columns from `at` on, two halves of columns. */
export interface Halves {
  readonly at: number;
  /** Columns before the split. */
  readonly first: number;
  readonly second: number;
}

/**
 * rows <- weights x rows for the chosen `rows` of a block (indices inside it), sorted left, both, right as `counts`
 * says. A half of the columns needs only the rows that are not 0 there. weights [count, count] in kernel memory.
 * Returns the new rows [count, first + second], in kernel memory above the caller's mark.
 */
export function mixRows(
  kernels: Kernels,
  matrix: Float64Array,
  stride: number,
  { at, first, second }: Halves,
  rows: readonly number[],
  counts: readonly [left: number, both: number, right: number],
  weights: Float64Array,
): Float64Array {
  const count = rows.length;
  const width = first + second;
  const out = kernels.allocateValues(count * width);
  const mark = kernels.mark();
  const halves = [
    { from: 0, size: counts[0] + counts[1], column: 0, columns: first },
    { from: counts[0], size: counts[1] + counts[2], column: first, columns: second },
  ];
  for (const { from, size, column, columns } of halves) {
    if (size === 0 || columns === 0) continue;
    const part = unset(kernels, size * columns);
    for (let r = 0; r < size; r++) {
      const start = (at + rows[from + r]) * stride + at + column;
      part.set(matrix.subarray(start, start + columns), r * columns);
    }
    const place = out.subarray(column);
    kernels.gemmStrided(place, width, weights.subarray(from), [count, 1], part, [columns, 1], count, columns, size, 1);
    kernels.release(mark);
  }
  return out;
}
