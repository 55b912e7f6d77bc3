import { makeNode } from "../op.ts";
import { scopedName } from "../scope.ts";
import { type Backward, type GraphValue, isTensor, type Value } from "../value.ts";

/** An Identity node with a backward pass of its own; onnxruntime removes it when the graph is loaded. */
export function withBackward(value: GraphValue, backward: Backward, name: string): GraphValue {
  const node = { op: "Identity", domain: "", inputs: [value], attributes: {}, name: scopedName(name), backward };
  const { dtype, shape, known } = value;
  return makeNode(node, [{ dtype, shape, known }])[0];
}

/** The value, taken as a constant by `gradient`. */
export function stopGradient(x: Value): Value {
  return isTensor(x) ? x : withBackward(x, { inputs: [], pull: () => [] }, "StopGradient");
}

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
  const pull: Backward["pull"] = ([dy]) => (dy === undefined ? [] : backward(dy, inputs, result));
  return withBackward(result, { inputs, pull }, "CustomGradient");
}
