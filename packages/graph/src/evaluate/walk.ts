import { rowMajorStride } from "@loomweight/tensor";

/** Strides that read a row-major array of shape `from` as if it had the shape `to`: 0 along broadcast axes. */
export function broadcastStride(from: readonly number[], to: readonly number[]): number[] {
  const own = rowMajorStride(from);
  const missing = to.length - from.length;
  return to.map((_, axis) => (axis < missing || from[axis - missing] === 1 ? 0 : own[axis - missing]));
}

/**
 * Visits `shape` in rows along the longest run of last axes that every operand walks with one step. `starts` is
 * reused between visits.
 */
export function walkRows(
  shape: readonly number[],
  strides: readonly (readonly number[])[],
  visit: (written: number, count: number, starts: readonly number[], steps: readonly number[]) => void,
): void {
  const sizes: number[] = [];
  const merged = strides.map((): number[] => []);
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    const size = shape[axis];
    if (size === 0) return;
    if (size === 1) continue;
    const joins = sizes.length > 0 && strides.every((stride, k) => stride[axis] === merged[k][0] * sizes[0]);
    if (joins) sizes[0] *= size;
    else {
      sizes.unshift(size);
      for (const [k, stride] of strides.entries()) merged[k].unshift(stride[axis]);
    }
  }
  const rank = sizes.length;
  const count = rank === 0 ? 1 : sizes[rank - 1];
  const steps = merged.map((stride) => (rank === 0 ? 0 : stride[rank - 1]));
  const starts = merged.map(() => 0);
  const index = new Array<number>(rank).fill(0);
  let written = 0;
  for (;;) {
    visit(written, count, starts, steps);
    written += count;
    let axis = rank - 2;
    for (; axis >= 0; axis--) {
      for (let k = 0; k < starts.length; k++) starts[k] += merged[k][axis];
      if (++index[axis] < sizes[axis]) break;
      for (let k = 0; k < starts.length; k++) starts[k] -= merged[k][axis] * sizes[axis];
      index[axis] = 0;
    }
    if (axis < 0) return;
  }
}
