import { type InferContext, inferGraph, type TypeScope, typeIn } from "./infer.ts";
import type { OnnxGraph, OnnxNode } from "./model.ts";
import { integersOf, knownNumbers, type ValueType } from "./op.ts";
import type { Dim } from "./value.ts";

type BodyRule = (
  node: OnnxNode,
  inputs: readonly (ValueType | undefined)[],
  context: InferContext,
  scope: TypeScope,
) => readonly (ValueType | undefined)[] | undefined;

/** Types of the outputs of the ops that hold graphs. */
export const controlFlow: Readonly<Record<string, BodyRule>> = { If: ifTypes, Loop: loopTypes, Scan: scanTypes };

function bodyOf(node: OnnxNode, attribute: string): OnnxGraph | undefined {
  const found = Object.hasOwn(node.attributes, attribute) ? node.attributes[attribute] : undefined;
  return found?.type === "graph" ? found.value : undefined;
}

/** Types of a body's outputs, without the constants: what runs may differ from what was written. */
function outputsOf(
  graph: OnnxGraph,
  context: InferContext,
  scope: TypeScope,
  given?: readonly (ValueType | undefined)[],
): (ValueType | undefined)[] {
  const inner = inferGraph(graph, context, scope, given);
  return graph.outputs.map(({ name, dtype, shape }) => {
    const type = typeIn(inner, name) ?? (dtype !== undefined && shape !== undefined ? { dtype, shape } : undefined);
    return type && plain(type);
  });
}

const plain = ({ dtype, shape }: ValueType): ValueType => ({ dtype, shape });

/** What holds for both types; undefined where they have no rank or dtype in common. */
function common(a: ValueType | undefined, b: ValueType | undefined): ValueType | undefined {
  if (a === undefined || b === undefined || a.dtype !== b.dtype || a.shape.length !== b.shape.length) return undefined;
  return { dtype: a.dtype, shape: a.shape.map((dim, axis): Dim => (dim === b.shape[axis] ? dim : "?")) };
}

function ifTypes(
  node: OnnxNode,
  inputs: readonly (ValueType | undefined)[],
  context: InferContext,
  scope: TypeScope,
): (ValueType | undefined)[] | undefined {
  const branches = [bodyOf(node, "then_branch"), bodyOf(node, "else_branch")];
  if (branches[0] === undefined || branches[1] === undefined) return undefined;
  const condition = inputs[0]?.tensor;
  if (condition !== undefined && condition.dtype === "bool") {
    return outputsOf(branches[integersOf(condition)[0] !== 0 ? 0 : 1] as OnnxGraph, context, scope);
  }
  const [yes, no] = branches.map((each) => outputsOf(each as OnnxGraph, context, scope));
  return node.outputs.map((_, index) => common(yes[index], no[index]));
}

/** The types that carried values keep from step to step: sizes that change are open. */
function carriedTypes(
  body: OnnxGraph,
  before: readonly (ValueType | undefined)[],
  initial: readonly (ValueType | undefined)[],
  after: readonly (ValueType | undefined)[],
  context: InferContext,
  scope: TypeScope,
): { carried: (ValueType | undefined)[]; outputs: (ValueType | undefined)[] } {
  const first = initial.length;
  let carried = initial.map((each) => each && plain(each));
  // Each round opens at least one more size or gives one up, so this ends; a chain of carried values needs several.
  for (;;) {
    const outputs = outputsOf(body, context, scope, [...before, ...carried, ...after]);
    const skip = before.length > 0 ? 1 : 0; // the condition comes first in Loop's outputs
    const results = outputs.slice(skip, skip + first);
    const next = carried.map((each, index) => common(each, results[index]));
    const same = next.every((each, index) => sameType(each, carried[index]));
    if (same) return { carried, outputs };
    carried = next;
  }
}

function sameType(a: ValueType | undefined, b: ValueType | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  return a.dtype === b.dtype && `${a.shape}` === `${b.shape}`;
}

function loopTypes(
  node: OnnxNode,
  inputs: readonly (ValueType | undefined)[],
  context: InferContext,
  scope: TypeScope,
): (ValueType | undefined)[] | undefined {
  const body = bodyOf(node, "body");
  if (body === undefined) return undefined;
  const initial = inputs.slice(2);
  const before: ValueType[] = [
    { dtype: "int64", shape: [] },
    { dtype: "bool", shape: [] },
  ];
  const { carried, outputs } = carriedTypes(body, before, initial, [], context, scope);
  const trips = inputs[0] === undefined ? undefined : knownNumbers(inputs[0])?.[0];
  const always = inputs[1] === undefined && node.inputs[1] === undefined;
  const scans = outputs.slice(1 + initial.length).map((each): ValueType | undefined => {
    // The body may end the loop early, so the number of steps is known for none at all only.
    return each && { dtype: each.dtype, shape: [always && trips === 0 ? 0 : "?", ...each.shape] };
  });
  return [...carried, ...scans];
}

function numbersOf(node: OnnxNode, name: string): readonly number[] | undefined {
  const found = Object.hasOwn(node.attributes, name) ? node.attributes[name] : undefined;
  return found?.type === "ints" ? found.value.map(Number) : undefined;
}

function scanTypes(
  node: OnnxNode,
  inputs: readonly (ValueType | undefined)[],
  context: InferContext,
  scope: TypeScope,
): (ValueType | undefined)[] | undefined {
  const body = bodyOf(node, "body");
  const count = Object.hasOwn(node.attributes, "num_scan_inputs") ? node.attributes.num_scan_inputs : undefined;
  const batched = (context.opsets[""] ?? context.opsets["ai.onnx"] ?? 1) < 9;
  if (body === undefined || count?.type !== "int") return undefined;
  const scanned = Number(count.value);
  if (!Number.isInteger(scanned) || scanned < 0 || scanned > inputs.length) return undefined;
  // Version 8 has an optional input of lengths first, and a batch axis before all others.
  const given = batched ? inputs.slice(1) : inputs;
  const states = given.slice(0, given.length - scanned);
  const sequences = given.slice(given.length - scanned);
  const inAxes = numbersOf(node, "scan_input_axes") ?? sequences.map(() => 0);
  const outAxes = numbersOf(node, "scan_output_axes") ?? [];
  let length: Dim = "?";
  let batch: Dim = "?";
  const unbatched = (type: ValueType | undefined) => {
    if (type === undefined || !batched) return type;
    if (typeof type.shape[0] === "number") batch = type.shape[0];
    return { dtype: type.dtype, shape: type.shape.slice(1) };
  };
  const elements = sequences.map((each, index) => {
    const type = unbatched(each);
    if (type === undefined) return undefined;
    const at = inAxes[index] ?? 0;
    const axis = at < 0 ? at + type.shape.length : at;
    if (length === "?" && type.shape[axis] !== undefined) length = type.shape[axis];
    return { dtype: type.dtype, shape: type.shape.filter((_, each) => each !== axis) };
  });
  const { carried, outputs } = carriedTypes(body, [], states.map(unbatched), elements, context, scope);
  const prefix = batched ? [batch] : [];
  const scans = outputs.slice(states.length).map((each, index): ValueType | undefined => {
    if (each === undefined) return undefined;
    const at = outAxes[index] ?? 0;
    const axis = at < 0 ? at + each.shape.length + 1 : at;
    return { dtype: each.dtype, shape: [...prefix, ...each.shape.slice(0, axis), length, ...each.shape.slice(axis)] };
  });
  return [...carried.map((each) => each && { ...each, shape: [...prefix, ...each.shape] }), ...scans];
}
