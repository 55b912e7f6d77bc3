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
