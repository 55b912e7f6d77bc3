import { type DType, elementCount, type Tensor, toFloat64 } from "@loomweight/tensor";
import { mostRead } from "../infer.ts";
import type { Initializer, OnnxGraph, OnnxNode } from "../model.ts";
import { subgraphsOf, usedBy } from "../rewrite.ts";

/** Whether an initializer is a weight: floats that are operands, and large tensors of any dtype. */
export function isWeight({ name, dtype, shape }: Initializer, settings: ReadonlySet<string>): boolean {
  return (isReal(dtype) && !settings.has(name)) || elementCount(shape) > mostRead || dtype === "string";
}

export const isReal = (dtype: DType): boolean =>
  dtype.startsWith("float") || dtype === "bfloat16" || dtype === "complex64";

/** Inputs of these ops that say how to compute: no model learns them, and types follow from them. */
const settingInputs: Readonly<Record<string, readonly number[]>> = {
  Resize: [1, 2, 3],
  Upsample: [1],
  Range: [0, 1, 2],
  OneHot: [1, 2],
  Dropout: [1, 2],
  Clip: [1, 2],
  Pad: [1, 2, 3],
  NonMaxSuppression: [2, 3, 4],
  MelWeightMatrix: [0, 1, 2, 3, 4],
};

/** Initializers that are used as settings only; `small` holds the values of those that are read. */
export function settingsOf(graph: OnnxGraph, small: ReadonlyMap<Initializer, Tensor> = new Map()): Set<string> {
  const settings = new Set<string>();
  const operands = new Set<string>(graph.outputs.map((each) => each.name));
  for (const node of graph.nodes) {
    const places = settingPlaces(node, graph, small);
    for (const [index, name] of node.inputs.entries()) (places.includes(index) ? settings : operands).add(name);
    if (subgraphsOf(node).length > 0) for (const name of usedBy(node)) operands.add(name);
  }
  for (const name of operands) settings.delete(name);
  return settings;
}

function settingPlaces(
  node: OnnxNode,
  { initializers }: OnnxGraph,
  small: ReadonlyMap<Initializer, Tensor>,
): readonly number[] {
  if (node.domain !== "") return [];
  if (node.op !== "Pow") return Object.hasOwn(settingInputs, node.op) ? settingInputs[node.op] : [];
  // A square is a square; other powers may be learned.
  const exponent = initializers.get(node.inputs[1]);
  const value = exponent === undefined ? undefined : small.get(exponent);
  return value !== undefined && elementCount(value.shape) === 1 && toFloat64(value)[0] === 2 ? [1] : [];
}
