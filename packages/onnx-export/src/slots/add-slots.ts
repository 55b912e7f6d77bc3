import {
  indexGraph,
  initializer,
  int,
  type OnnxGraph,
  type OnnxModel,
  type OnnxNode,
  onnxNode,
  type ValueInfo,
} from "@loomweight/graph";
import type { GraphName } from "@loomweight/models";
import { type DType, fromData, invalidOption, LoomweightError } from "@loomweight/tensor";
import type { AdapterSlots, ModuleSlot, SlotLayout } from "./slots.ts";

export interface AdapterSlotsOptions {
  /** One adapter for all rows of a batch, or one for each; default "single". */
  readonly layout?: SlotLayout;
  /** Whether slots have the row scales that DoRA needs; default true. */
  readonly dora?: boolean;
  /** Names of the layers that get a slot, as PEFT's target_modules: whole paths or their ends; default every linear layer. */
  readonly targets?: readonly string[];
}

/** A graph with slots, and what they are. */
export interface SlottedModel {
  readonly model: OnnxModel;
  readonly modules: AdapterSlots["modules"];
  /** Linear layers that the layout "rows" cannot serve, as their input does not begin with the batch. */
  readonly skipped: readonly string[];
}

/** The input with each row's place in the stack. */
export const rowsInput = "adapter_rows";

/**
 * Adds the inputs of low-rank adapters to every linear layer of a float graph (a MatMul with a weight `<path>.weight`),
 * as required inputs: onnxruntime ignores values fed to initializers that may be overridden.
 *
 *   x ──MatMul W──────────────┐
 *   └──MatMul A──MatMul B────Add──Mul scale── y        A [in, rank], B [rank, out], scale [out]
 *
 * Layout "rows": A [n, in, rank] and B, scale alike, gathered by `adapter_rows` [batch] first. Inputs are float32,
 * cast where the graph computes in float16. A quantizer that follows replaces the product with W and leaves the rest.
 * A head that shares its table with the embedding gets none. Throws `INVALID_OPTION` where no layer is named so.
 */
export function addAdapterSlots(
  model: OnnxModel,
  graphName: GraphName,
  options: AdapterSlotsOptions = {},
): SlottedModel {
  const { layout = "single", dora = true, targets } = options;
  const { graph } = model;
  const index = indexGraph(graph);
  const types = new Map([...graph.inputs.map((each) => [each.name, each] as const), ...graph.valueInfo]);
  const batch = graph.inputs[0]?.shape?.[0];
  const modules: Record<string, ModuleSlot> = {};
  const inputs: ValueInfo[] = [];
  const skipped: string[] = [];
  const replace = new Map<OnnxNode, readonly OnnxNode[]>();
  const valueInfo = new Map(graph.valueInfo);
  const axis = index.freshName("adapter_row_axis");

  for (const node of graph.nodes) {
    const path = linearPath(graph, node);
    if (path === undefined || (targets !== undefined && !targets.some((name) => endsWith(path, name)))) continue;
    const [inner, out] = graph.initializers.get(node.inputs[1])?.shape ?? [];
    const x = types.get(node.inputs[0]);
    if (layout === "rows" && !(x?.shape?.length === 3 && typeof batch === "string" && x.shape[0] === batch)) {
      if (!skipped.includes(path)) skipped.push(path);
      continue;
    }
    if (!Object.hasOwn(modules, path)) {
      const names = { A: `${path}.lora_A`, B: `${path}.lora_B`, ...(dora ? { scale: `${path}.lora_scale` } : {}) };
      modules[path] = { in: inner, out, graphs: [graphName], ...names };
      // a name of its own for each rank: equal names would promise equal sizes
      const rank = `${path}.rank`;
      const stack = layout === "rows" ? ["adapters"] : [];
      inputs.push(
        { name: names.A, dtype: "float32", shape: [...stack, inner, rank] },
        { name: names.B, dtype: "float32", shape: [...stack, rank, out] },
      );
      if (names.scale !== undefined) inputs.push({ name: names.scale, dtype: "float32", shape: [...stack, out] });
    }
    const dtype = graph.initializers.get(node.inputs[1])?.dtype as DType;
    const added = slotNodes(node, modules[path], { layout, dtype, axis, fresh: index.freshName });
    const type = valueInfo.get(node.outputs[0]) ?? graph.outputs.find(({ name }) => name === node.outputs[0]);
    if (type !== undefined) valueInfo.set(added[0].outputs[0], { ...type, name: added[0].outputs[0] });
    replace.set(node, added);
  }
  if (inputs.length > 0 && layout === "rows")
    inputs.push({ name: rowsInput, dtype: "int64", shape: [batch as string] });
  const initializers = new Map(graph.initializers);
  if (layout === "rows" && dora && inputs.length > 0) {
    initializers.set(axis, initializer(axis, fromData("int64", BigInt64Array.of(1n), [1])));
  }
  const nodes = graph.nodes.flatMap((node) => replace.get(node) ?? [node]);
  const changed: OnnxGraph = { ...graph, nodes, initializers, valueInfo, inputs: [...graph.inputs, ...inputs] };
  return { model: { ...model, graph: changed }, modules, skipped };
}

/** The layer whose product a node is; undefined for other nodes, and for a head that reads the embedding's table. */
function linearPath(graph: OnnxGraph, node: OnnxNode): string | undefined {
  if (node.op !== "MatMul" || node.domain !== "") return undefined;
  const weight = graph.initializers.get(node.inputs[1]);
  if (weight?.shape.length !== 2 || !weight.name.endsWith(".weight")) return undefined;
  const { origin } = weight.data;
  return origin !== undefined && origin.tensors[0] !== weight.name
    ? undefined
    : weight.name.slice(0, -".weight".length);
}

function endsWith(path: string, name: string): boolean {
  return path === name || path.endsWith(`.${name}`);
}

/** The product under another name, and what makes the adapted value from it. */
function slotNodes(
  node: OnnxNode,
  slot: ModuleSlot,
  context: { layout: SlotLayout; dtype: DType; axis: string; fresh: (name: string) => string },
): readonly [OnnxNode, ...OnnxNode[]] {
  const { layout, dtype, axis, fresh } = context;
  const [output] = node.outputs;
  const place = node.name === "" ? output : node.name;
  const added: OnnxNode[] = [];
  const put = (op: string, part: string, inputs: readonly string[], attributes = {}, last = false): string => {
    const name = fresh(`${place}/${part}`);
    const made = last ? output : fresh(`${output}_${part}`);
    added.push(onnxNode(op, inputs, [made], { name, attributes }));
    return made;
  };
  /** The input as the graph computes with it: the row's own, in the graph's dtype. */
  const factor = (input: string, part: string): string => {
    const own = layout === "rows" ? put("Gather", `${part}_rows`, [input, rowsInput], { axis: int(0) }) : input;
    return dtype === "float16" ? put("Cast", `${part}_cast`, [own], { to: int(10) }) : own;
  };
  const base = fresh(`${output}_base`);
  const inner = put("MatMul", "lora_A", [node.inputs[0], factor(slot.A, "lora_A")]);
  const update = put("MatMul", "lora_B", [inner, factor(slot.B, "lora_B")]);
  const sum = put("Add", "lora_add", [base, update], {}, slot.scale === undefined);
  if (slot.scale !== undefined) {
    const scale = factor(slot.scale, "lora_scale");
    const shaped = layout === "rows" ? put("Unsqueeze", "lora_scale_wide", [scale, axis]) : scale;
    put("Mul", "lora_scaled", [sum, shaped], {}, true);
  }
  return [{ ...node, outputs: [base] }, ...added];
}

/** Slots of all graphs of a model as one description. Throws `INVALID_OPTION` where no graph has one. */
export function joinSlots(
  graphs: Iterable<readonly [GraphName, SlottedModel["modules"]]>,
  options: AdapterSlotsOptions,
): AdapterSlots {
  const { layout = "single", targets } = options;
  const modules: Record<string, ModuleSlot> = {};
  for (const [graph, own] of graphs) {
    for (const [path, slot] of Object.entries(own)) {
      const before = Object.hasOwn(modules, path) ? modules[path].graphs : [];
      modules[path] = { ...slot, graphs: before.includes(graph) ? before : [...before, graph] };
    }
  }
  const paths = Object.keys(modules);
  for (const target of targets ?? []) {
    if (!paths.some((path) => endsWith(path, target))) {
      throw invalidOption(
        { option: "adapterSlots.targets" },
        target,
        "names of linear layers of the model, such as q_proj",
      );
    }
  }
  if (paths.length === 0) {
    throw new LoomweightError({
      code: "INVALID_OPTION",
      problem: "the model has no linear layer that an adapter slot could serve",
      option: "adapterSlots",
      fix: layout === "rows" ? 'Use the layout "single".' : undefined,
    });
  }
  return { version: 1, layout, ...(layout === "rows" ? { rows: rowsInput } : {}), modules };
}
