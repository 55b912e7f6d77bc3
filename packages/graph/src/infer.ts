import { type DType, dtypeFacts, elementCount, LoomweightError } from "@loomweight/tensor";
import type { OnnxGraph, OnnxModel, OnnxNode, ValueInfo } from "./model.ts";
import { inferTypesOf, type OpTable, type ValueType } from "./op.ts";
import { findRule, opTables } from "./ops/catalogue.ts";
import type { Dim } from "./value.ts";

export interface InferOptions {
  /** Throw what a rule throws (`SHAPE_MISMATCH`, …) rather than leave the type unknown. Default false. */
  readonly strict?: boolean;
  /** Ops beyond those known here, by domain. */
  readonly tables?: Readonly<Record<string, OpTable>>;
}

/** Constants up to this many elements are read for the sizes that follow from them. */
const mostRead = 1024;

/**
 * dtype and shape of every value of an imported model that can be told: from the ops' rules, else from the types the
 * file records. Small constants are read, weights are not.
 */
export async function inferTypes(
  model: OnnxModel,
  options: InferOptions = {},
): Promise<ReadonlyMap<string, ValueType>> {
  const tables = { ...opTables(), ...options.tables };
  const types = new Map<string, ValueType>();
  await inferGraph(model.graph, model.opsets, tables, types, options.strict ?? false);
  return types;
}

/** The model with the inferred types recorded. */
export async function withInferredTypes(model: OnnxModel, options: InferOptions = {}): Promise<OnnxModel> {
  const types = await inferTypes(model, options);
  const valueInfo = new Map<string, ValueInfo>(model.graph.valueInfo);
  const outside = new Set([
    ...model.graph.inputs.map((each) => each.name),
    ...model.graph.outputs.map((each) => each.name),
    ...model.graph.initializers.keys(),
  ]);
  for (const [name, { dtype, shape }] of types) if (!outside.has(name)) valueInfo.set(name, { name, dtype, shape });
  return { ...model, graph: { ...model.graph, valueInfo } };
}

async function inferGraph(
  graph: OnnxGraph,
  opsets: OnnxModel["opsets"],
  tables: Readonly<Record<string, OpTable>>,
  types: Map<string, ValueType>,
  strict: boolean,
): Promise<void> {
  const declared = new Map<string, ValueInfo>(graph.valueInfo);
  for (const each of graph.outputs) declared.set(each.name, each);
  for (const { name, dtype, shape } of graph.inputs) {
    if (dtype !== undefined && shape !== undefined) types.set(name, { dtype, shape });
  }
  for (const { name, dtype, shape, data } of graph.initializers.values()) {
    const overridable = graph.inputs.some((each) => each.name === name);
    const small = isNumeric(dtype) && elementCount(shape) <= mostRead && !overridable;
    types.set(name, small ? { dtype, shape, tensor: await data.read() } : { dtype, shape });
  }
  for (const node of graph.nodes) {
    const found = inferNode(node, opsets, tables, types, strict);
    for (const [index, name] of node.outputs.entries()) {
      const type = merge(found?.[index], declared.get(name));
      if (name !== "" && type !== undefined) types.set(name, type);
    }
  }
}

const isNumeric = (dtype: DType): boolean => !["text", "packed", "complex"].includes(dtypeFacts[dtype].kind);

function inferNode(
  node: OnnxNode,
  opsets: OnnxModel["opsets"],
  tables: Readonly<Record<string, OpTable>>,
  types: ReadonlyMap<string, ValueType>,
  strict: boolean,
): readonly ValueType[] | undefined {
  const rule = findRule(tables, node.domain, node.op);
  const inputs = node.inputs.map((name) => (name === "" ? undefined : types.get(name)));
  if (rule === undefined || node.inputs.some((name, index) => name !== "" && inputs[index] === undefined))
    return undefined;
  const opset = opsetOf(opsets, node.domain);
  try {
    const { op, domain, attributes, name } = node;
    return inferTypesOf(rule, { op, domain, attributes, name, inputs, outputs: node.outputs.length, opset });
  } catch (cause) {
    // Rules follow the newest opsets: a form of an old one that they do not know leaves the type open.
    if (strict || !(cause instanceof LoomweightError)) throw cause;
    return undefined;
  }
}

/** Version of a domain that a model imports; 1 where it imports none. */
export function opsetOf(opsets: OnnxModel["opsets"], domain: string): number {
  const standard = domain === "" || domain === "ai.onnx";
  return (standard ? (opsets[""] ?? opsets["ai.onnx"]) : opsets[domain]) ?? 1;
}

/** What was inferred, with the sizes it leaves open taken from what the file records. */
function merge(inferred: ValueType | undefined, declared: ValueInfo | undefined): ValueType | undefined {
  if (inferred === undefined) {
    if (declared?.dtype === undefined || declared.shape === undefined) return undefined;
    return { dtype: declared.dtype, shape: declared.shape };
  }
  if (declared?.shape === undefined || declared.shape.length !== inferred.shape.length) return inferred;
  const recorded = declared.shape;
  return { ...inferred, shape: inferred.shape.map((dim, axis): Dim => (dim === "?" ? recorded[axis] : dim)) };
}
