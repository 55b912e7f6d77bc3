import { contiguousData, fromFloat64, LoomweightError, type Tensor, toFloat64 } from "@loomweight/tensor";

/** A low-rank update: scaling · B A. */
export interface LowRankUpdate {
  /** [rank, in] */
  readonly a: Tensor;
  /** [out, rank] */
  readonly b: Tensor;
  readonly scaling: number;
}

/**
 * Σ w · scaling · B A as one update of scaling 1, exactly: the A stacked [Σ rank, in], the B side by side [out, Σ rank],
 * each scaled by w · scaling. float64. Throws `SHAPE_MISMATCH`.
 */
export function lowRankSum(updates: readonly LowRankUpdate[], weights: ArrayLike<number>): LowRankUpdate {
  const { out: rows, in: columns } = requireSameLayer(updates);
  const rank = updates.reduce((sum, { a }) => sum + a.shape[0], 0);
  const a = new Float64Array(rank * columns);
  const b = new Float64Array(rows * rank);
  let at = 0;
  for (const [index, update] of updates.entries()) {
    const own = update.a.shape[0];
    a.set(valuesOf(update.a), at * columns);
    const values = valuesOf(update.b);
    const factor = weights[index] * update.scaling;
    for (let row = 0; row < rows; row++) {
      for (let k = 0; k < own; k++) b[row * rank + at + k] = factor * values[row * own + k];
    }
    at += own;
  }
  return { a: fromFloat64(a, [rank, columns]), b: fromFloat64(b, [rows, rank]), scaling: 1 };
}

/** The values to read, in place where they are float64 already. */
function valuesOf(tensor: Tensor): Float64Array {
  return tensor.dtype === "float64" ? (contiguousData(tensor) as Float64Array) : toFloat64(tensor);
}

/** The layer's size that the factors agree on; 0 by 0 for none. Throws `SHAPE_MISMATCH`. */
export function requireSameLayer(updates: readonly LowRankUpdate[]): { readonly out: number; readonly in: number } {
  const [columns, rows] = [updates[0]?.a.shape[1] ?? 0, updates[0]?.b.shape[0] ?? 0];
  for (const { a, b } of updates) {
    if (
      a.shape.length === 2 &&
      b.shape.length === 2 &&
      a.shape[1] === columns &&
      b.shape[0] === rows &&
      a.shape[0] === b.shape[1]
    ) {
      continue;
    }
    throw new LoomweightError({
      code: "SHAPE_MISMATCH",
      problem: "low-rank updates of one weight do not fit together",
      expected: `A [rank, ${columns}] and B [${rows}, rank]`,
      found: `A [${a.shape}] and B [${b.shape}]`,
    });
  }
  return { out: rows, in: columns };
}
