import type { Tensor } from "@loomweight/tensor";
import { scalarOf } from "../op.ts";
import { add, clip, div, max, mul, sqrt } from "../ops/elementwise.ts";
import { reduceSumSquare } from "../ops/reduce.ts";
import type { Value } from "../value.ts";

/** sqrt of the sum of squares over all gradients: one scalar. */
export function globalNorm(gradients: Readonly<Record<string, Value>>): Value {
  const zero: Tensor = scalarOf(0, "float32");
  const squares = Object.values(gradients).map((each) => reduceSumSquare(each, undefined, false));
  return sqrt(squares.reduce((sum: Value, each) => (sum === zero ? each : add(sum, each)), zero as Value));
}

/** Every gradient scaled by limit / max(norm, limit), as `torch.nn.utils.clip_grad_norm_` (which adds 1e-6 to the norm). */
export function clipByNorm(
  gradients: Readonly<Record<string, Value>>,
  norm: Value,
  limit: number,
): Record<string, Value> {
  const scale = div(limit, max(add(norm, 1e-6), limit));
  return mapValues(gradients, (each) => mul(each, scale));
}

/** Every element of every gradient within -limit .. limit. */
export function clipByValue(gradients: Readonly<Record<string, Value>>, limit: number): Record<string, Value> {
  return mapValues(gradients, (each) => clip(each, -limit, limit));
}

function mapValues(values: Readonly<Record<string, Value>>, change: (each: Value) => Value): Record<string, Value> {
  return Object.fromEntries(Object.entries(values).map(([name, each]) => [name, change(each)]));
}
