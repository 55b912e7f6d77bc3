import { LoomweightError } from "@loomweight/tensor";
import { decodeFunction, type FunctionBody, referredAttribute } from "../codec/decode-function.ts";
import type { OnnxGraph, OnnxModel, OnnxNode } from "../model.ts";
import { mapBodies, subgraphsOf } from "../rewrite.ts";
import type { Attributes, AttributeValue } from "../value.ts";

/** Local functions of a model by domain and name. */
export interface FunctionTable {
  find(node: OnnxNode): FunctionBody | undefined;
  readonly size: number;
}

/** Throws `INVALID_ONNX` for a damaged function, `UNSUPPORTED_OP` for overloads. */
export function functionTable(model: OnnxModel): FunctionTable {
  const bodies = new Map<string, FunctionBody>();
  const key = (domain: string, name: string) => `${domain === "ai.onnx" ? "" : domain}\u0000${name}`;
  for (const each of model.functions) {
    const at = key(each.domain, each.name);
    if (bodies.has(at)) {
      throw new LoomweightError({
        code: "UNSUPPORTED_OP",
        problem: `the function "${each.name}" of "${each.domain}" is there more than once: overloads are not supported`,
      });
    }
    bodies.set(at, decodeFunction(each.bytes, `function ${each.name}`));
  }
  return { find: (node) => bodies.get(key(node.domain, node.op)), size: bodies.size };
}

/** Functions inside functions: more than any real model has. */
const deepestCalls = 100;

/** Nodes that inlining may make: more than any real model has. */
const mostNodes = 500_000;

/**
 * Throws `INVALID_GRAPH` for functions that call themselves, also by way of others, and `TOO_LARGE` where inlining
 * would make too many nodes: counted before any is made.
 */
export function checkCalls(graph: OnnxGraph, functions: FunctionTable): void {
  const counts = new Map<FunctionBody, number>();
  const open = new Set<FunctionBody>();
  const count = (node: OnnxNode): number => {
    const inner = subgraphsOf(node).reduce((sum, each) => sum + total(each.nodes), 1);
    const body = functions.find(node);
    if (body === undefined) return inner;
    const known = counts.get(body);
    if (known !== undefined) return known;
    if (open.has(body) || open.size >= deepestCalls) {
      const problem = open.has(body) ? "calls itself" : `is called through more than ${deepestCalls} others`;
      throw new LoomweightError({
        code: "INVALID_GRAPH",
        problem: `the function "${node.op}" of "${node.domain}" ${problem}`,
        node: node.name,
      });
    }
    open.add(body);
    const made = total(body.nodes);
    open.delete(body);
    counts.set(body, made);
    return made;
  };
  const total = (nodes: readonly OnnxNode[]): number => nodes.reduce((sum, node) => sum + count(node), 0);
  const made = total(graph.nodes);
  if (made <= mostNodes) return;
  throw new LoomweightError({
    code: "TOO_LARGE",
    problem: "the model's functions would make too many nodes",
    expected: `at most ${mostNodes}`,
    found: `${made}`,
  });
}

/** The nodes of a function as one call of it: values renamed, attributes put in. */
export function callFunction(call: OnnxNode, body: FunctionBody, fresh: (name: string) => string): readonly OnnxNode[] {
  const names = new Map<string, string>();
  for (const [index, name] of body.inputs.entries()) names.set(name, call.inputs[index] ?? "");
  for (const [index, name] of body.outputs.entries()) {
    const wanted = call.outputs[index] ?? "";
    if (wanted !== "") names.set(name, wanted);
  }
  const base = call.name === "" ? (call.outputs.find((name) => name !== "") ?? call.op) : call.name;
  const nodes: OnnxNode[] = [];
  // An output that is an input of the function, or stands twice among its outputs, needs a node of its own.
  for (const [index, name] of body.outputs.entries()) {
    const wanted = call.outputs[index] ?? "";
    const passed = body.inputs.indexOf(name);
    const first = body.outputs.indexOf(name);
    if (wanted === "" || (passed < 0 && first === index)) continue;
    const from = passed >= 0 ? (call.inputs[passed] ?? "") : (call.outputs[first] ?? "");
    if (passed >= 0) names.set(name, from);
    nodes.push({
      op: "Identity",
      domain: "",
      name: fresh(`${base}/Identity`),
      inputs: [from],
      outputs: [wanted],
      attributes: {},
    });
  }
  for (const node of body.nodes) {
    for (const name of node.outputs) if (name !== "" && !names.has(name)) names.set(name, fresh(`${base}/${name}`));
  }
  const given = { ...body.defaults, ...call.attributes };
  const renamed = body.nodes.map((node) => ({
    ...node,
    name: fresh(`${base}/${node.name === "" ? node.op : node.name}`),
    inputs: node.inputs.map((name) => (name === "" ? "" : (names.get(name) ?? name))),
    outputs: node.outputs.map((name) => (name === "" ? "" : (names.get(name) ?? name))),
    attributes: mapBodies(withAttributes(node.attributes, given), (inner) => renameAll(inner, names, given)),
  }));
  return [...renamed, ...nodes];
}

/** References to the function's attributes replaced by what the call gives; those it does not give are left out. */
function withAttributes(attributes: Attributes, given: Attributes): Attributes {
  const entries: [string, AttributeValue][] = [];
  for (const [name, value] of Object.entries(attributes)) {
    const referred = value.type === "raw" ? referredAttribute(value.value) : undefined;
    if (referred === undefined) entries.push([name, value]);
    else if (Object.hasOwn(given, referred)) entries.push([name, renamedRaw(given[referred])]);
  }
  return Object.fromEntries(entries);
}

/** An attribute kept whole carries its old name with it. */
function renamedRaw(value: AttributeValue): AttributeValue {
  if (value.type !== "raw") return value;
  throw new LoomweightError({
    code: "UNSUPPORTED_OP",
    problem: "an attribute of a kind this package does not take apart is handed to a function",
  });
}

/** A body inside a function: its values keep their names, those around it have new ones. */
function renameAll(graph: OnnxGraph, names: ReadonlyMap<string, string>, given: Attributes): OnnxGraph {
  const own = new Set([...graph.inputs.map((each) => each.name), ...graph.initializers.keys()]);
  for (const node of graph.nodes) for (const name of node.outputs) own.add(name);
  const visible = new Map([...names].filter(([name]) => !own.has(name)));
  const nodes = graph.nodes.map((node) => ({
    ...node,
    inputs: node.inputs.map((name) => visible.get(name) ?? name),
    attributes: mapBodies(withAttributes(node.attributes, given), (inner) => renameAll(inner, visible, given)),
  }));
  return {
    ...graph,
    nodes,
    outputs: graph.outputs.map((each) => ({ ...each, name: visible.get(each.name) ?? each.name })),
  };
}
