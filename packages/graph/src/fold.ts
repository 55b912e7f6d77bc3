import { elementCount, LoomweightError, type Tensor } from "@loomweight/tensor";
import { opsetOf } from "./infer.ts";
import type { Initializer, OnnxModel, OnnxNode } from "./model.ts";
import { evaluateCall, inferTypesOf, type NamedRule, typeOf } from "./op.ts";
import { findRule, opTables } from "./ops/catalogue.ts";
import { changeGraph, initializer, pruneUnused } from "./rewrite.ts";

export interface FoldOptions {
  /** Most elements of a constant that is read or made; default 2^20, so weights stay lazy. */
  readonly mostElements?: number;
}

/** Rules follow ONNX from here on; nodes of older models are left alone. */
const oldestOpset = 7;

/**
 * The model with nodes computed whose inputs are all constants. Arithmetic is in float64, rounded once to the node's
 * dtype. What has no rule, is too large, or fails is left as it is.
 */
export async function foldConstants(
  model: OnnxModel,
  { mostElements = 2 ** 20 }: FoldOptions = {},
): Promise<OnnxModel> {
  const tables = opTables();
  const inputs = new Set(model.graph.inputs.map((each) => each.name));
  const outputs = new Set(model.graph.outputs.map((each) => each.name));
  const constants = new Map<string, Tensor>();
  const made: Initializer[] = [];
  const replace = new Map<OnnxNode, readonly OnnxNode[]>();
  const constantOf = async (name: string): Promise<Tensor | undefined> => {
    const known = constants.get(name);
    const weight = model.graph.initializers.get(name);
    if (known !== undefined || weight === undefined || inputs.has(name)) return known;
    if (elementCount(weight.shape) > mostElements) return undefined;
    const tensor = await weight.data.read();
    constants.set(name, tensor);
    return tensor;
  };
  for (const node of model.graph.nodes) {
    const rule = findRule(tables, node.domain, node.op);
    const opset = opsetOf(model.opsets, node.domain);
    if (rule?.evaluate === undefined || (node.domain === "" && opset < oldestOpset)) continue;
    if (node.outputs.some((name) => outputs.has(name))) continue;
    const operands = await Promise.all(node.inputs.map((name) => (name === "" ? undefined : constantOf(name))));
    if (node.inputs.some((name, index) => name !== "" && operands[index] === undefined)) continue;
    const results = computed(rule, node, operands, opset, mostElements);
    if (results === undefined) continue;
    replace.set(node, []);
    for (const [index, name] of node.outputs.entries()) {
      if (name === "") continue;
      constants.set(name, results[index]);
      made.push(initializer(name, results[index]));
    }
  }
  return { ...model, graph: pruneUnused(changeGraph(model.graph, { replace, initializers: made })) };
}

function computed(
  rule: NamedRule,
  node: OnnxNode,
  inputs: readonly (Tensor | undefined)[],
  opset: number,
  mostElements: number,
): readonly Tensor[] | undefined {
  const { op, domain, name, attributes } = node;
  const call = { op, domain, name, attributes, outputs: node.outputs.length, opset };
  try {
    const types = inferTypesOf(rule, { ...call, inputs: inputs.map((each) => each && typeOf(each)) });
    const sizes = types.map((type) =>
      elementCount(type.shape.map((dim) => (typeof dim === "number" ? dim : Number.NaN))),
    );
    if (types.length < node.outputs.length || !sizes.every((size) => size <= mostElements)) return undefined;
    const results = evaluateCall(rule, { ...call, inputs }, types);
    return results.length < node.outputs.length ? undefined : results;
  } catch (cause) {
    if (cause instanceof LoomweightError) return undefined;
    throw cause;
  }
}
