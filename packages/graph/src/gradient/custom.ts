import { type Backward, isTensor, type Value } from "../value.ts";
import { withBackward } from "./stop.ts";

/**
 * What `forward` computes from `inputs`, with a gradient of its own: `backward` gets dL/d(result), the inputs and the
 * result, and returns dL/d(input) for each input (undefined = none). A straight-through estimator is
 * `customGradient([x], (x) => round(x), (dy) => [dy])`. Values that `forward` uses beyond its inputs get no gradient.
 */
export function customGradient(
  inputs: readonly Value[],
  forward: (...inputs: readonly Value[]) => Value,
  backward: (upstream: Value, inputs: readonly Value[], result: Value) => readonly (Value | undefined)[],
): Value {
  const result = forward(...inputs);
  if (isTensor(result)) return result;
  const pull: Backward["pull"] = (call) => backward(call.upstream, call.inputs, call.result);
  return withBackward(result, { inputs, pull }, "CustomGradient");
}
