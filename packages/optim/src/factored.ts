import { add, div, max, mul, reduceMean, sqrt, type Value } from "@loomweight/graph";
import { type Tensor, zeros } from "@loomweight/tensor";
import { square } from "./moments.ts";
import { zerosLike } from "./per-parameter.ts";

/** The two axes a second moment is factored over; rows run along the first, columns along the second. */
export type FactoredAxes = readonly [number, number];

/** The last two axes; undefined for vectors and scalars. torch's choice. */
export function lastAxes(shape: readonly number[]): FactoredAxes | undefined {
  return shape.length < 2 ? undefined : [shape.length - 2, shape.length - 1];
}

/** The first two of three axes or more, else the last two, where both are above `size`. timm's choice. */
export function leadingAxes(shape: readonly number[], size: number): FactoredAxes | undefined {
  if (shape.length > 2 && shape[0] > size && shape[1] > size) return [0, 1];
  const last = lastAxes(shape);
  return last !== undefined && shape[last[0]] > size && shape[last[1]] > size ? last : undefined;
}

/** The second largest and the largest axis, where both are at least `size`. optax's choice. */
export function largestAxes(shape: readonly number[], size: number): FactoredAxes | undefined {
  if (shape.length < 2) return undefined;
  const order = shape.map((_, axis) => axis).sort((a, b) => shape[a] - shape[b] || a - b);
  const [second, first] = order.slice(-2);
  return shape[second] < size ? undefined : [second, first];
}

/** State of a second moment: row and column means where it is factored, else one number per entry. */
export function initFactored(parameter: Tensor, axes: FactoredAxes | undefined): Record<string, Tensor> {
  if (axes === undefined) return { variance: zerosLike(parameter) };
  const without = (reduced: number) => parameter.shape.map((size, axis) => (axis === reduced ? 1 : size));
  return {
    row_var: zeros(without(axes[1]), parameter.dtype),
    col_var: zeros(without(axes[0]), parameter.dtype),
  };
}

/** How a factored second moment is kept away from zero. */
export type Guard = { readonly clamp: number } | { readonly add: number };

/**
 * The state after a gradient, and the gradient over the root of the second moment V. Factored, V is
 * row · column / mean(row), the best rank-one estimate (arXiv:1804.04235, §3). `share` is the scalar weight of the new
 * square. `guard`: `add` is added to g²; `clamp` bounds mean(row) and √V from below.
 */
export function factoredUpdate(
  state: Readonly<Record<string, Value>>,
  gradient: Value,
  { axes, share, guard }: { readonly axes: FactoredAxes | undefined; readonly share: Value; readonly guard: Guard },
): { update: Value; state: Record<string, Value> } {
  const squared = "add" in guard ? add(square(gradient), guard.add) : square(gradient);
  const towards = (previous: Value, next: Value) => add(previous, mul(add(next, mul(previous, -1)), share));
  const floor = "clamp" in guard ? guard.clamp : 0;
  const bounded = (value: Value, low: number) => (low > 0 ? max(value, low) : value);
  if (axes === undefined) {
    const variance = towards(state.variance, squared);
    return { update: div(gradient, bounded(sqrt(variance), floor)), state: { variance } };
  }
  const row = towards(state.row_var, reduceMean(squared, [axes[1]]));
  const column = towards(state.col_var, reduceMean(squared, [axes[0]]));
  const relative = div(row, bounded(reduceMean(row, [axes[0]]), floor));
  const root = mul(sqrt(relative), sqrt(column));
  return { update: div(gradient, bounded(root, floor)), state: { row_var: row, col_var: column } };
}
