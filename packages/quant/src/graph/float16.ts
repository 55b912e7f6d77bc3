import {
  type Attributes,
  type AttributeValue,
  type Initializer,
  int,
  type LazyTensor,
  type OnnxGraph,
  type OnnxModel,
  type OnnxNode,
  type ValueInfo,
} from "@loomweight/graph";
import { fromData, type Tensor } from "@loomweight/tensor";
import { toFloat16Clamped } from "../float16.ts";
import { invalid } from "../options.ts";
import { castParts } from "./cast-parts.ts";
import { makeOnnxNode, startEdit } from "./edit.ts";
import { dtypeAttributes, float16BlockedOps } from "./float16-lists.ts";
import { type Float16Plan, intValue, onnxFloat, onnxFloat16, planFloat16 } from "./float16-plan.ts";

export interface Float16Options {
  /** Inputs and outputs of the graph stay float32 behind casts: all (true, default), none, or those named. */
  readonly keepIoTypes?: boolean | readonly string[];
  /** Ops that stay float32; default `float16BlockedOps`. */
  readonly blockOps?: readonly string[];
  /** Names of nodes that stay float32. */
  readonly blockNodes?: readonly string[];
}

/**
 * The model with float32 weights, values and casts in float16. Weights are converted one at a time when the model is
 * written, by `toFloat16Clamped`. A node that stays float32 reads `<value>_cast_to_fp32` and writes
 * `<value>_cast_to_fp16`, Cast nodes beside it; weights that only such nodes read stay float32. With `keepIoTypes` the
 * graph's border is cast: `graph_input_cast_<i>`, `graph_output_cast_<i>`. Converting twice changes nothing more.
 *
 * Types come from the model's value infos: an imported file that lacks them goes through `withInferredTypes` of
 * `@loomweight/graph` first.
 *
 * Names are those of onnxruntime's float16 tool. Differs: nodes are in topological order; two neighbours that both stay
 * float32 are not separated by casts; If and Loop bodies are converted with their borders; ConstantOfShape without a
 * value, dtype attributes of random operators and float attributes of Constant are converted too.
 * @throws `INVALID_OPTION`
 */
export function convertToFloat16(model: OnnxModel, options: Float16Options = {}): OnnxModel {
  const { keepIoTypes = true, blockOps = float16BlockedOps, blockNodes = [] } = options;
  if (typeof keepIoTypes !== "boolean" && !Array.isArray(keepIoTypes)) {
    throw invalid("convertToFloat16.keepIoTypes", keepIoTypes, "true, false or a list of names");
  }
  const { inputs, outputs } = model.graph;
  const border = [...inputs, ...outputs].filter(({ dtype }) => dtype === "float32").map(({ name }) => name);
  const keptIo = new Set(
    typeof keepIoTypes === "boolean"
      ? keepIoTypes
        ? border
        : []
      : border.filter((name) => keepIoTypes.includes(name)),
  );
  const plan = planFloat16(model, new Set(blockOps), new Set(blockNodes), keptIo);
  const { fresh } = startEdit(model.graph);
  const state: State = { plan, fresh, halves: new Map(), floats: new Map(), added: [] };
  const first: OnnxNode[] = [];
  const last: OnnxNode[] = [];
  const added: ValueInfo[] = [];
  inputs.forEach((info, i) => {
    if (!keptIo.has(info.name) || plan.kept.has(info.name) || model.graph.initializers.has(info.name)) return;
    const half = fresh(`graph_input_cast_${i}`);
    state.halves.set(info.name, half);
    state.floats.set(info.name, info.name);
    added.push({ name: half, dtype: "float16", shape: info.shape });
    first.push(castNode(`graph_input_cast${i}`, info.name, half, onnxFloat16));
  });
  outputs.forEach((info, i) => {
    if (!keptIo.has(info.name) || plan.kept.has(info.name) || state.halves.has(info.name)) return;
    const half = fresh(`graph_output_cast_${i}`);
    state.halves.set(info.name, half);
    added.push({ name: half, dtype: "float16", shape: info.shape });
    last.push(castNode(`graph_output_cast${i}`, half, info.name, onnxFloat));
  });
  const converted = convertGraph(model.graph, state, keptIo);
  return {
    ...model,
    graph: {
      ...converted,
      nodes: [...first, ...converted.nodes, ...last],
      valueInfo: new Map([...converted.valueInfo, ...added.map((info) => [info.name, info] as const)]),
    },
  };
}

interface State {
  readonly plan: Float16Plan;
  fresh(wanted: string): string;
  /** Value → the name of its float16 form, where that is another. */
  readonly halves: Map<string, string>;
  /** Value → the name of its float32 form, where one exists in the top-level graph. */
  readonly floats: Map<string, string>;
  /** Types of the float32 values that casts bring into the graph under way. */
  readonly added: ValueInfo[];
}

function castNode(name: string, from: string, to: string, code: number): OnnxNode {
  return makeOnnxNode({ op: "Cast", name, inputs: [from], outputs: [to], attributes: { to: int(code) } });
}

function convertGraph(graph: OnnxGraph, state: State, keptIo: ReadonlySet<string>): OnnxGraph {
  const { plan } = state;
  const retyped = (info: ValueInfo): ValueInfo =>
    info.dtype === "float32" && !plan.kept.has(info.name) && !keptIo.has(info.name)
      ? { ...info, dtype: "float16" }
      : info;
  const nodes: OnnxNode[] = [];
  for (const node of graph.nodes) nodes.push(...(plan.isBlocked(node) ? blocked(node, state) : halved(node, state)));
  return {
    ...graph,
    nodes,
    inputs: graph.inputs.map(retyped),
    outputs: graph.outputs.map(retyped),
    valueInfo: new Map([
      ...[...graph.valueInfo].map(([name, info]) => [name, retyped(info)] as const),
      ...state.added.map((info) => [info.name, info] as const),
    ]),
    initializers: new Map(
      [...graph.initializers].map(([name, each]) => [name, plan.kept.has(name) ? each : halvedInitializer(each)]),
    ),
  };
}

/** A node that computes in float16, behind casts of inputs that it reads as float32 all the same. */
function halved(node: OnnxNode, state: State): readonly OnnxNode[] {
  const { plan, halves } = state;
  const { casts, inputs } = inputsOf(node, state);
  const outputs = node.outputs.map((name) => halves.get(name) ?? name);
  const keeps = node.outputs.some((name) => plan.kept.has(name));
  return [...casts, { ...node, inputs, outputs, attributes: keeps ? node.attributes : halvedAttributes(node, state) }];
}

/** A node that stays float32, between casts. */
function blocked(node: OnnxNode, state: State): readonly OnnxNode[] {
  const { plan, halves, fresh } = state;
  const { casts, inputs } = inputsOf(node, state);
  const after: OnnxNode[] = [];
  const outputs = node.outputs.map((name) => {
    if (plan.dtype(name) !== "float32" || plan.kept.has(name)) return name;
    const half = halves.get(name) ?? name;
    const float = fresh(`${half}_cast_to_fp16`);
    state.added.push({ name: float, dtype: "float32", shape: undefined });
    after.push(castNode(`${half}_cast_to_fp16_node`, float, half, onnxFloat16));
    state.floats.set(name, float);
    return float;
  });
  return [...casts, { ...node, inputs, outputs }, ...after];
}

function inputsOf(node: OnnxNode, state: State): { casts: readonly OnnxNode[]; inputs: readonly string[] } {
  const { plan, halves, floats, fresh } = state;
  const casts: OnnxNode[] = [];
  const inputs = node.inputs.map((name, position) => {
    if (plan.kept.has(name)) return name;
    if (plan.dtype(name) !== "float32" || !plan.readsFloat(node, position)) return halves.get(name) ?? name;
    const known = floats.get(name);
    if (known !== undefined) return known;
    const half = halves.get(name) ?? name;
    const float = fresh(`${half}_cast_to_fp32`);
    state.added.push({ name: float, dtype: "float32", shape: undefined });
    casts.push(castNode(`${half}_cast_to_fp32_node`, half, float, onnxFloat));
    floats.set(name, float);
    return float;
  });
  return { casts, inputs };
}

function halvedAttributes(node: OnnxNode, state: State): Attributes {
  const entries = Object.entries(node.attributes).map(([name, value]): [string, AttributeValue] => {
    if (dtypeAttributes.includes(name) && node.domain === "" && intValue(value) === onnxFloat) {
      return [name, int(onnxFloat16)];
    }
    switch (value.type) {
      case "tensor":
        return [name, { type: "tensor", value: halvedTensor(value.value) }];
      case "tensors":
        return [name, { type: "tensors", value: value.value.map(halvedTensor) }];
      case "graph":
        return [name, { type: "graph", value: convertBody(value.value, state) }];
      case "graphs":
        return [name, { type: "graphs", value: value.value.map((body) => convertBody(body, state)) }];
      default:
        return [name, value];
    }
  });
  const attributes = Object.fromEntries(entries);
  if (node.domain !== "") return attributes;
  if (node.op === "ConstantOfShape" && attributes.value === undefined) return { value: floatsAttribute([0], [1]) };
  if (node.op === "Constant" && attributes.value_float?.type === "float") {
    return { value: floatsAttribute([attributes.value_float.value], []) };
  }
  if (node.op === "Constant" && attributes.value_floats?.type === "floats") {
    const { value } = attributes.value_floats;
    return { value: floatsAttribute(value, [value.length]) };
  }
  return attributes;
}

/** A body reads outer values by their new names; casts inside it are its own. */
function convertBody(body: OnnxGraph, state: State): OnnxGraph {
  return convertGraph(body, { ...state, floats: new Map(state.floats), added: [] }, new Set());
}

function floatsAttribute(values: readonly number[], shape: readonly number[]): AttributeValue {
  return { type: "tensor", value: halvedTensor(fromData("float32", Float32Array.from(values), shape)) };
}

function halvedTensor(tensor: Tensor): Tensor {
  return tensor.dtype === "float32" ? toFloat16Clamped(tensor) : tensor;
}

function halvedInitializer(initializer: Initializer): Initializer {
  const { dtype, data } = initializer;
  if (dtype !== "float32") return initializer;
  const { shape, origin, together, stream } = data;
  const half: LazyTensor = {
    dtype: "float16",
    shape,
    origin,
    together,
    read: async () => halvedTensor(await data.read()),
    ...(stream && { stream: () => castParts(stream(), "float32", "float16") }),
  };
  return { ...initializer, dtype: "float16", data: half };
}
