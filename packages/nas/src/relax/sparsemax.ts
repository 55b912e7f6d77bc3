import {
  add,
  cast,
  div,
  greater,
  greaterOrEqual,
  mul,
  reduceSum,
  relu,
  reshape,
  stopGradient,
  sub,
  type Value,
} from "@loomweight/graph";

/**
 * The point of the simplex nearest to z [n]: p = max(z − θ, 0), θ = (Σ of the support − 1) / its size. Exact zeros:
 * choices outside of the support get no gradient. Martins and Astudillo 2016, arXiv:1602.02068. Without sorting: z_i is
 * in the support where 1 + #{z_m ≥ z_i} · z_i > Σ{z_m ≥ z_i}.
 */
export function sparsemax(z: Value): Value {
  const count = Number(z.shape[0]);
  const fixed = stopGradient(z);
  const [row, column] = [reshape(fixed, [1, count]), reshape(fixed, [count, 1])];
  const above = cast(greaterOrEqual(row, column), z.dtype); // [i, m]: z_m ≥ z_i
  const ranks = reduceSum(above, [1], false);
  const sums = reduceSum(mul(above, row), [1], false);
  const support = cast(greater(add(mul(ranks, fixed), 1), sums), z.dtype);
  const threshold = div(sub(reduceSum(mul(support, z), [0]), 1), reduceSum(support, [0]));
  return relu(sub(z, threshold));
}

/** The same of plain numbers. */
export function sparsemaxOf(values: readonly number[]): number[] {
  const sorted = [...values].sort((a, b) => b - a);
  let [sum, threshold] = [0, 0];
  for (const [j, value] of sorted.entries()) {
    sum += value;
    if (1 + (j + 1) * value > sum) threshold = (sum - 1) / (j + 1);
  }
  return values.map((value) => Math.max(0, value - threshold));
}
