import { LoomweightError, type Tensor } from "@loomweight/tensor";
import { createNames } from "../assemble.ts";
import {
  type InferContext,
  inferGraph,
  inferNode,
  isStandard,
  opsetOf,
  readSmallConstants,
  type TypeScope,
  typeIn,
} from "../infer.ts";
import type { Initializer, OnnxGraph, OnnxModel, OnnxNode } from "../model.ts";
import { opTables } from "../ops/catalogue.ts";
import { freeValues, initializer, mapBodies, namesInBodies, subgraphsOf } from "../rewrite.ts";
import type { Converter } from "./converters/converter.ts";
import { inputConverters } from "./converters/inputs.ts";
import { meaningConverters } from "./converters/meaning.ts";
import { callFunction, checkCalls, type FunctionTable, functionTable } from "./functions.ts";

/** Versions of the standard domain that are understood. */
export const oldestOpset = 7;
export const newestOpset = 28;
/** What older models are brought to; newer ones stay as they are. */
export const normalOpset = 21;

/**
 * The model at opset 21 and IR 10 (or at its own, where that is newer), its local functions inlined: attributes that
 * became inputs are inputs, ops that meant something else are written with ops of today. Ops of other domains and
 * unknown ops stay as they are. Weights are not read.
 *
 * Throws `UNSUPPORTED_OPSET` before 7 and after 28, `UNSUPPORTED_OP` naming the node where opset 21 has no words for
 * what it does, `INVALID_GRAPH` for functions that call themselves, `TOO_LARGE` for those that would
 * make more nodes than any model has.
 */
export async function normalizeModel(model: OnnxModel): Promise<OnnxModel> {
  const opset = checkOpset(opsetOf(model.opsets, ""), model);
  const functions = functionTable(model);
  if (functions.size > 0) checkCalls(model.graph, functions);
  if (opset >= normalOpset && functions.size === 0) return model;
  const constants = await readSmallConstants(model.graph);
  const context = { opsets: model.opsets, tables: opTables(), constants, strict: false };
  const types = inferGraph(model.graph, context);
  const target = Math.max(opset, normalOpset);
  const shared: Shared = { functions, context, names: allNames(model.graph), target, opsets: {} };
  const graph = normalGraph(model.graph, types, opset, shared);
  const { "": _, "ai.onnx": __, ...others } = model.opsets;
  return {
    ...model,
    irVersion: Math.max(10, model.irVersion),
    opsets: { "": target, ...shared.opsets, ...others },
    functions: [],
    graph: model.irVersion < 4 ? withoutDefaults(graph) : graph,
  };
}

function checkOpset(opset: number, { opsets, functions }: OnnxModel): number {
  const imported = Object.hasOwn(opsets, "") || Object.hasOwn(opsets, "ai.onnx");
  if (!imported && (functions.length > 0 || Object.keys(opsets).length > 0)) return normalOpset; // no standard node
  if (opset >= oldestOpset && opset <= newestOpset) return opset;
  throw new LoomweightError({
    code: "UNSUPPORTED_OPSET",
    problem: `the model is written for opset ${opset}`,
    expected: `${oldestOpset} to ${newestOpset}`,
    found: `${opset}`,
    fix: opset < oldestOpset ? "Export it anew with a current tool." : "Export it for an older opset.",
  });
}

/** What the normalisation of all graphs of a model shares. */
interface Shared {
  readonly functions: FunctionTable;
  readonly context: InferContext;
  readonly names: { take(name: string): string };
  readonly target: number;
  /** Domains that functions import beyond those of the model. */
  readonly opsets: Record<string, number>;
}

function allNames(graph: OnnxGraph): { take(name: string): string } {
  const names = new Set<string>([...graph.inputs.map((each) => each.name), ...graph.initializers.keys()]);
  for (const node of graph.nodes) {
    names.add(node.name);
    for (const name of [...node.outputs, ...namesInBodies(node)]) names.add(name);
  }
  return createNames(names);
}

function normalGraph(graph: OnnxGraph, scope: TypeScope, opset: number, shared: Shared): OnnxGraph {
  const used = usedValues(graph);
  const added: Initializer[] = [];
  const nodes: OnnxNode[] = [];
  const expand = (node: OnnxNode, version: number): void => {
    const body = shared.functions.find(node);
    if (body === undefined) {
      inferHere(node, version, scope, shared.context);
      nodes.push(...converted(node, version, { used, added, scope, shared }));
      return;
    }
    const inner = checkFunctionOpset(body.opsets, version, shared);
    const called = callFunction(node, body, shared.names.take);
    for (const each of called) {
      for (const name of each.inputs) used.add(name);
      for (const free of subgraphsOf(each).flatMap(freeValues)) used.add(free);
    }
    for (const each of called) expand(each, inner);
  };
  for (const node of graph.nodes) expand(node, opset);
  const initializers = new Map(graph.initializers);
  for (const each of added) initializers.set(each.name, each);
  return { ...graph, nodes, initializers };
}

/** Types of values that inference of the whole could not see, for the insides of functions and what comes after them. */
function inferHere(node: OnnxNode, opset: number, scope: TypeScope, context: InferContext): void {
  if (node.outputs.every((name) => name === "" || typeIn(scope, name) !== undefined)) return;
  const found = inferNode(node, { ...context, opsets: { ...context.opsets, "": opset } }, scope);
  for (const [index, name] of node.outputs.entries()) {
    const type = found?.[index];
    if (name !== "" && type !== undefined) scope.own.set(name, type);
  }
}

function checkFunctionOpset(opsets: Readonly<Record<string, number>>, otherwise: number, shared: Shared): number {
  for (const [domain, version] of Object.entries(opsets)) {
    if (!isStandard(domain) && !Object.hasOwn(shared.opsets, domain)) shared.opsets[domain] = version;
  }
  const version = opsets[""] ?? opsets["ai.onnx"] ?? otherwise;
  if (version >= oldestOpset && version <= Math.max(shared.target, normalOpset)) return version;
  throw new LoomweightError({
    code: "UNSUPPORTED_OPSET",
    problem: `a function of the model is written for opset ${version}, the model for ${shared.target} at most`,
  });
}

function usedValues(graph: OnnxGraph): Set<string> {
  const used = new Set(graph.outputs.map((each) => each.name));
  for (const node of graph.nodes) {
    for (const name of node.inputs) used.add(name);
    for (const inner of subgraphsOf(node)) for (const name of freeValues(inner)) used.add(name);
  }
  used.delete("");
  return used;
}

function converted(
  node: OnnxNode,
  opset: number,
  { used, added, scope, shared }: { used: Set<string>; added: Initializer[]; scope: TypeScope; shared: Shared },
): readonly OnnxNode[] {
  const plain = subgraphsOf(node).length === 0 ? node : withNormalBodies(node, scope, opset, shared);
  const converter = isStandard(node.domain) ? findConverter(node.op, opset) : undefined;
  if (converter === undefined) return [plain];
  const result = converter.convert({
    node: plain,
    opset,
    typeOf: (name) => typeIn(scope, name),
    constant(tensor: Tensor) {
      const name = shared.names.take(`${node.name === "" ? node.outputs[0] : node.name}/constant`);
      added.push(initializer(name, tensor));
      return name;
    },
    fresh: shared.names.take,
    uses: (output) => used.has(node.outputs[output] ?? ""),
  });
  return "op" in result ? [result] : result;
}

function findConverter(op: string, opset: number): Converter | undefined {
  for (const table of [inputConverters, meaningConverters]) {
    if (Object.hasOwn(table, op) && opset < table[op].before) return table[op];
  }
  return undefined;
}

function withNormalBodies(node: OnnxNode, scope: TypeScope, opset: number, shared: Shared): OnnxNode {
  const attributes = mapBodies(node.attributes, (body) =>
    normalGraph(body, inferGraph(body, shared.context, scope), opset, shared),
  );
  return { ...node, attributes };
}

/** Before IR 4 every initializer was listed as an input too, and none could be overridden. */
function withoutDefaults(graph: OnnxGraph): OnnxGraph {
  return { ...graph, inputs: graph.inputs.filter((each) => !graph.initializers.has(each.name)) };
}
