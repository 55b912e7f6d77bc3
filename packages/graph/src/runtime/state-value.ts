import type { DType } from "@loomweight/tensor";
import type { GraphNode, GraphValue, Value } from "../value.ts";
import { isTensor } from "../value.ts";

/** The tensor of that name in the state that the graph will be compiled over. */
export function stateValue(name: string, dtype: DType, shape: readonly number[]): GraphValue {
  return { kind: "parameter", name, dtype, shape: [...shape] };
}

/** The parameters that values depend on, in the order they are met. */
export function parametersOf(values: Iterable<Value>): GraphValue[] {
  const found = new Set<GraphValue>();
  const seen = new Set<GraphNode>();
  const stack = [...values].reverse();
  for (let value = stack.pop(); value !== undefined; value = stack.pop()) {
    if (isTensor(value)) continue;
    if (value.kind === "parameter") found.add(value);
    if (value.node === undefined || seen.has(value.node)) continue;
    seen.add(value.node);
    for (let i = value.node.inputs.length - 1; i >= 0; i--) {
      const operand = value.node.inputs[i];
      if (operand !== undefined) stack.push(operand);
    }
  }
  return [...found];
}
