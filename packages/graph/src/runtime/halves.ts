import type { OnnxModel, OnnxNode, ValueInfo } from "../model.ts";
import { onnxOfDtype } from "../onnx-dtype.ts";

/** Opset of BitCast. */
const bitCastOpset = 26;

/**
 * JavaScript cannot pass bfloat16 to onnxruntime, and float16 only on some versions of Node: inputs and outputs of
 * these dtypes cross as uint16 and are BitCast inside the graph. Needs opset 26, so only graphs that have some change.
 */
export function carryHalves(
  model: OnnxModel,
  { inputs, outputs }: { readonly inputs: readonly string[]; readonly outputs: readonly string[] },
): OnnxModel {
  const { graph } = model;
  const isHalf = ({ dtype }: ValueInfo) => dtype === "bfloat16" || dtype === "float16";
  const halfInputs = new Map(graph.inputs.filter((each) => inputs.includes(each.name) && isHalf(each)).map(inner));
  const halfOutputs = new Map(graph.outputs.filter((each) => outputs.includes(each.name) && isHalf(each)).map(inner));
  if (halfInputs.size === 0 && halfOutputs.size === 0) return model;
  const casts = (from: string, to: string, dtype: "uint16" | "bfloat16" | "float16"): OnnxNode => ({
    op: "BitCast",
    domain: "",
    name: `/${to}/BitCast`,
    inputs: [from],
    outputs: [to],
    attributes: { to: { type: "int", value: onnxOfDtype(dtype) } },
  });
  const nodes = graph.nodes.map((node) => ({
    ...node,
    inputs: node.inputs.map((name) => halfInputs.get(name)?.name ?? halfOutputs.get(name)?.name ?? name),
    outputs: node.outputs.map((name) => halfOutputs.get(name)?.name ?? name),
  }));
  const carried = (each: ValueInfo, halves: ReadonlyMap<string, ValueInfo>): ValueInfo =>
    halves.has(each.name) ? { ...each, dtype: "uint16" } : each;
  return {
    ...model,
    opsets: { ...model.opsets, "": Math.max(model.opsets[""] ?? 0, bitCastOpset) },
    graph: {
      ...graph,
      inputs: graph.inputs.map((each) => carried(each, halfInputs)),
      outputs: graph.outputs.map((each) => carried(each, halfOutputs)),
      nodes: [
        ...[...halfInputs].map(([name, { name: half, dtype }]) => casts(name, half, dtype as "bfloat16")),
        ...nodes,
        ...[...halfOutputs].map(([name, { name: half }]) => casts(half, name, "uint16")),
      ],
      valueInfo: new Map([
        ...graph.valueInfo,
        ...[...halfInputs.values(), ...halfOutputs.values()].map((each) => [each.name, each] as const),
      ]),
    },
  };
}

/** The value inside the graph that stands for one at its border. */
function inner(each: ValueInfo): [string, ValueInfo] {
  return [each.name, { ...each, name: `${each.name}/half` }];
}
