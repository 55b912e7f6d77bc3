import { type DType, dtypeFacts, elementCount, LoomweightError, type Tensor } from "@loomweight/tensor";
import { isConcrete } from "./dims.ts";
import { controlFlow } from "./infer-bodies.ts";
import { type AnyType, declaredOther, isOther, type OtherType, otherTypes } from "./infer-others.ts";
import type { Initializer, OnnxGraph, OnnxModel, OnnxNode, ValueInfo } from "./model.ts";
import {
  evaluateCall,
  inferTypesOf,
  knownTensors,
  type NamedRule,
  type OpCall,
  type OpTable,
  type ValueType,
} from "./op.ts";
import { findRule, opTables } from "./ops/catalogue.ts";
import { subgraphsOf } from "./rewrite.ts";
import type { Dim } from "./value.ts";

export interface InferOptions {
  /** Throw what a rule throws (`SHAPE_MISMATCH`, …) rather than leave the type unknown. Default false. */
  readonly strict?: boolean;
  /** Ops beyond those known here, by domain. */
  readonly tables?: Readonly<Record<string, OpTable>>;
}

/** Constants up to this many elements are read for the sizes that follow from them. */
export const mostRead = 1024;

/** Small numeric constants of a graph and its bodies, read into memory. */
export type SmallConstants = ReadonlyMap<Initializer, Tensor>;

/** What inference of every graph of a model shares. */
export interface InferContext {
  readonly opsets: OnnxModel["opsets"];
  readonly tables: Readonly<Record<string, OpTable>>;
  readonly constants: SmallConstants;
  readonly strict: boolean;
}

/** Types of the values that a graph sees: its own, and those around it. */
export interface TypeScope {
  readonly own: Map<string, ValueType>;
  /** Those that are no tensors of a dtype of this project. */
  readonly others: Map<string, OtherType>;
  readonly outer?: TypeScope;
}

export function typeIn(scope: TypeScope | undefined, name: string): ValueType | undefined {
  for (let at = scope; at !== undefined; at = at.outer) {
    const found = at.own.get(name);
    if (found !== undefined) return found;
  }
  return undefined;
}

/**
 * dtype and shape of every value of an imported model that can be told: from the ops' rules, else from the types the
 * file records. Small constants are read, weights are not. Bodies of If, Loop and Scan are looked into.
 */
export async function inferTypes(
  model: OnnxModel,
  options: InferOptions = {},
): Promise<ReadonlyMap<string, ValueType>> {
  return inferGraph(model.graph, await contextOf(model, options)).own;
}

/** As `inferTypes`, with the values that are no tensors, or of dtypes that this project has not. */
export async function inferAllTypes(
  model: OnnxModel,
  options: InferOptions = {},
): Promise<ReadonlyMap<string, AnyType>> {
  const { own, others } = inferGraph(model.graph, await contextOf(model, options));
  return new Map<string, AnyType>([...own, ...others]);
}

async function contextOf(model: OnnxModel, { tables, strict = false }: InferOptions): Promise<InferContext> {
  const constants = await readSmallConstants(model.graph);
  return { opsets: model.opsets, tables: { ...opTables(), ...tables }, constants, strict };
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

/** Reads the initializers of a graph and its bodies whose elements sizes may follow from. */
export async function readSmallConstants(graph: OnnxGraph): Promise<SmallConstants> {
  const found = new Map<Initializer, Tensor>();
  await readInto(graph, found);
  return found;
}

async function readInto(graph: OnnxGraph, into: Map<Initializer, Tensor>): Promise<void> {
  for (const each of graph.initializers.values()) {
    if (isNumeric(each.dtype) && elementCount(each.shape) <= mostRead) into.set(each, await each.data.read());
  }
  for (const node of graph.nodes) for (const inner of subgraphsOf(node)) await readInto(inner, into);
}

/**
 * Types of the values of a graph. `given` are those of its inputs where the caller knows more than the file says, as
 * for the body of a Loop.
 */
export function inferGraph(
  graph: OnnxGraph,
  context: InferContext,
  outer?: TypeScope,
  given?: readonly (AnyType | undefined)[],
): TypeScope {
  const scope: TypeScope = { own: new Map(), others: new Map(), outer };
  const types = scope.own;
  const declared = new Map<string, ValueInfo>(graph.valueInfo);
  for (const each of graph.outputs) declared.set(each.name, each);
  const inputs = new Set<string>();
  for (const [index, info] of graph.inputs.entries()) {
    const { name, dtype, shape } = info;
    inputs.add(name);
    const known = given?.[index] ?? declaredOther(info);
    if (isOther(known)) scope.others.set(name, known);
    else if (known !== undefined) types.set(name, known);
    else if (dtype !== undefined && shape !== undefined) types.set(name, { dtype, shape });
  }
  for (const each of graph.initializers.values()) {
    const { name, dtype, shape } = each;
    const tensor = inputs.has(name) ? undefined : context.constants.get(each);
    types.set(name, tensor === undefined ? { dtype, shape } : { dtype, shape, tensor });
  }
  for (const node of graph.nodes) {
    const found = inferNode(node, context, scope);
    for (const [index, name] of node.outputs.entries()) {
      const type = mergeType(found?.[index], declared.get(name));
      if (name !== "" && type !== undefined) types.set(name, type);
    }
    inferOthers(node, context, scope);
  }
  return scope;
}

/** Types of what the rules of tensors leave open. */
function inferOthers(node: OnnxNode, context: InferContext, scope: TypeScope): void {
  if (node.outputs.every((name) => name === "" || scope.own.has(name))) return;
  const found = otherTypes(node, context, scope);
  for (const [index, name] of node.outputs.entries()) {
    const type = found?.[index];
    if (name === "" || type === undefined || scope.own.has(name)) continue;
    if (isOther(type)) scope.others.set(name, type);
    else if (type.shape !== undefined) scope.own.set(name, type);
  }
}

const isNumeric = (dtype: DType): boolean => !["text", "packed", "complex"].includes(dtypeFacts[dtype].kind);

/** Types of a node's outputs; undefined, or holes, where they cannot be told. */
export function inferNode(
  node: OnnxNode,
  context: InferContext,
  scope: TypeScope,
): readonly (ValueType | undefined)[] | undefined {
  const inputs = node.inputs.map((name) => (name === "" ? undefined : typeIn(scope, name)));
  try {
    if (isStandard(node.domain) && Object.hasOwn(controlFlow, node.op)) {
      return controlFlow[node.op](node, inputs, context, scope);
    }
    const rule = findRule(context.tables, node.domain, node.op);
    const open = node.inputs.some((name, index) => name !== "" && inputs[index] === undefined);
    if (rule === undefined || open) return undefined;
    const opset = opsetOf(context.opsets, node.domain);
    const { op, domain, attributes, name } = node;
    const call = { op, domain, attributes, name, outputs: node.outputs.length, opset };
    const types = inferTypesOf(rule, { ...call, inputs });
    return withValues(rule, call, inputs, types);
  } catch (cause) {
    // Rules follow the newest opsets: a form of an old one that they do not know leaves the type open.
    if (context.strict || !(cause instanceof LoomweightError)) throw cause;
    return undefined;
  }
}

/** Types with the elements of small results whose operands are all known: sizes may follow from them. */
function withValues(
  rule: NamedRule,
  call: Omit<OpCall, "inputs">,
  inputs: readonly (ValueType | undefined)[],
  types: readonly ValueType[],
): readonly ValueType[] {
  if (rule.evaluate === undefined || types.some((type) => type.tensor !== undefined)) return types;
  const small = types.every(
    ({ dtype, shape }) => isNumeric(dtype) && isConcrete(shape) && elementCount(shape) <= mostRead,
  );
  if (!small || types.length < call.outputs) return types;
  const operands = inputs.map((type) => type && (type.tensor ?? knownTensors([type])?.[0]));
  if (operands.some((tensor, index) => inputs[index] !== undefined && tensor === undefined)) return types;
  try {
    const results = evaluateCall(rule, { ...call, inputs: operands }, types);
    return types.map((type, index) => ({ ...type, tensor: results[index] }));
  } catch (cause) {
    // What cannot be computed here is computed when the model runs.
    if (cause instanceof LoomweightError) return types;
    throw cause;
  }
}

export const isStandard = (domain: string): boolean => domain === "" || domain === "ai.onnx";

/** Version of a domain that a model imports; 1 where it imports none. */
export function opsetOf(opsets: OnnxModel["opsets"], domain: string): number {
  return (isStandard(domain) ? (opsets[""] ?? opsets["ai.onnx"]) : opsets[domain]) ?? 1;
}

/** What was inferred, with the sizes it leaves open taken from what the file records. */
export function mergeType(
  inferred: ValueType | undefined,
  declared: Pick<ValueInfo, "dtype" | "shape"> | undefined,
): ValueType | undefined {
  if (inferred === undefined) {
    if (declared?.dtype === undefined || declared.shape === undefined) return undefined;
    return { dtype: declared.dtype, shape: declared.shape };
  }
  if (declared?.shape === undefined || declared.shape.length !== inferred.shape.length) return inferred;
  const recorded = declared.shape;
  return { ...inferred, shape: inferred.shape.map((dim, axis): Dim => (dim === "?" ? recorded[axis] : dim)) };
}
