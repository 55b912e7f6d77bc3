import {
  type Attributes,
  changeGraph,
  type Initializer,
  indexGraph,
  initializer,
  int,
  type OnnxGraph,
  type OnnxModel,
  type OnnxNode,
  onnxNode,
  onnxOfDtype,
  sortNodes,
} from "@loomweight/graph";
import { fromData } from "@loomweight/tensor";
import type { FusedOp } from "./fusions.ts";

/**
 * Turns each RMSNorm, which families build as one node that only onnxruntime knows in the standard domain, into what every checker accepts:
 * together with the sum in front of it SkipSimplifiedLayerNormalization, where the devices have it; else x / √(mean(x²) + ε) · scale in
 * standard operators, which onnxruntime turns back into one when it loads the file.
 */
export function rewriteNorms(model: OnnxModel, { fused }: { readonly fused: ReadonlySet<FusedOp> }): OnnxModel {
  const skipped = fused.has("SkipSimplifiedLayerNormalization") ? withSums(model.graph) : model.graph;
  const graph = sortNodes(withoutNorms(skipped));
  const domains: Record<string, number> = graph.nodes.some(({ domain }) => domain === contrib) ? { [contrib]: 1 } : {};
  return { ...model, opsets: { ...model.opsets, ...domains }, graph };
}

const contrib = "com.microsoft";
const isNorm = ({ op, domain }: OnnxNode) => op === "SimplifiedLayerNormalization" && domain === "";

/** Norms of sums of two values of one shape [batch, sequence, hidden] become one node with the sum. */
function withSums(graph: OnnxGraph): OnnxGraph {
  const index = indexGraph(graph);
  const shapes = new Map([...graph.inputs, ...graph.valueInfo.values()].map(({ name, shape }) => [name, shape]));
  const replace = new Map<OnnxNode, readonly OnnxNode[]>();
  for (const norm of graph.nodes) {
    const sum = isNorm(norm) ? index.producer(norm.inputs[0]) : undefined;
    if (sum?.op !== "Add" || sum.domain !== "" || replace.has(sum)) continue;
    const [a, b] = sum.inputs.map((name) => shapes.get(name));
    if (a === undefined || b === undefined || a.length !== 3 || `${a}` !== `${b}`) continue;
    const [total] = sum.outputs;
    const kept = index.isOutput(total) || index.consumers(total).length > 1;
    const outputs = kept ? [norm.outputs[0], "", "", total] : [norm.outputs[0]];
    const details = { name: norm.name, domain: contrib, attributes: epsilonOf(norm) };
    replace.set(sum, []);
    replace.set(norm, [
      onnxNode("SkipSimplifiedLayerNormalization", [...sum.inputs, norm.inputs[1]], outputs, details),
    ]);
  }
  return changeGraph(graph, { replace });
}

const epsilonOf = ({ attributes }: OnnxNode): Attributes => ({ epsilon: attributes.epsilon });

/** Norms in standard operators. In half precision the squares are taken in float32: 256² is already too large. */
function withoutNorms(graph: OnnxGraph): OnnxGraph {
  const index = indexGraph(graph);
  const constants = new Map<string, Initializer>();
  const constant = (name: string, data: Parameters<typeof initializer>[1]) => {
    const made = constants.get(name) ?? initializer(index.freshName(name), data);
    constants.set(name, made);
    return made.name;
  };
  const replace = new Map<OnnxNode, readonly OnnxNode[]>();
  const values = new Map([...graph.inputs, ...graph.valueInfo.values()].map((each) => [each.name, each]));
  for (const norm of graph.nodes) {
    if (!isNorm(norm)) continue;
    const [x, scale] = norm.inputs;
    const { epsilon } = norm.attributes;
    const dtype =
      values.get(norm.outputs[0])?.dtype ?? graph.outputs.find(({ name }) => name === norm.outputs[0])?.dtype;
    const nodes: OnnxNode[] = [];
    const add = (op: string, inputs: string[], attributes: Attributes = {}, output?: string) => {
      const name = index.freshName(`${norm.name.replace(/[^/]*$/, "")}${op}`);
      const made = output ?? index.freshName(`${name}_output`);
      nodes.push(onnxNode(op, inputs, [made], { name, attributes }));
      return made;
    };
    const half = dtype !== "float32";
    const wide = half ? add("Cast", [x], { to: int(onnxOfDtype("float32")) }) : x;
    const two = constant("norm.two", fromData("float32", Float32Array.of(2), []));
    const axes = constant("norm.axes", fromData("int64", BigInt64Array.of(-1n), [1]));
    const value = epsilon?.type === "float" ? epsilon.value : 1e-5;
    const small = constant(`norm.epsilon ${value}`, fromData("float32", Float32Array.of(value), []));
    const mean = add("ReduceMean", [add("Pow", [wide, two]), axes], { keepdims: int(1) });
    const normed = add("Div", [wide, add("Sqrt", [add("Add", [mean, small])])]);
    add(
      "Mul",
      [half ? add("Cast", [normed], { to: int(onnxOfDtype(dtype ?? "float32")) }) : normed, scale],
      {},
      norm.outputs[0],
    );
    replace.set(norm, nodes);
  }
  return changeGraph(graph, { replace, initializers: [...constants.values()] });
}
