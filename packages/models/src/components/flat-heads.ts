import { isGraphValue, reshape, type Value } from "@loomweight/graph";

/** [batch, sequence, heads, headDim] → [batch, sequence, size]; what has only just been split is taken as it was. */
export function flatHeads(x: Value, size: number): Value {
  const before = isGraphValue(x) && x.node?.op === "Reshape" ? x.node.inputs[0] : undefined;
  return before?.shape.length === 3 && before.shape[2] === size ? before : reshape(x, [0, 0, size]);
}
