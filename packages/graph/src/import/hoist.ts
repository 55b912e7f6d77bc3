import { elementCount } from "@loomweight/tensor";
import { createNames } from "../assemble.ts";
import type { Initializer, OnnxGraph, OnnxNode } from "../model.ts";
import { initializer, mapBodies, namesInBodies, redirect, subgraphsOf } from "../rewrite.ts";

/**
 * The graph, and its bodies, with the constants that are weights as initializers: some exporters write every weight as
 * a Constant node. Single numbers, whole numbers and texts stay constants.
 */
export function liftConstants(graph: OnnxGraph): OnnxGraph {
  const initializers = new Map(graph.initializers);
  const outputs = new Set(graph.outputs.map((each) => each.name));
  const nodes = graph.nodes.flatMap((node): OnnxNode[] => {
    if (subgraphsOf(node).length > 0) return [{ ...node, attributes: mapBodies(node.attributes, liftConstants) }];
    const value = node.op === "Constant" && node.domain === "" ? node.attributes.value : undefined;
    const [name] = node.outputs;
    if (value?.type !== "tensor" || outputs.has(name) || initializers.has(name)) return [node];
    const { dtype, shape } = value.value;
    const real = dtype.startsWith("float") || dtype === "bfloat16";
    if (!real || elementCount(shape) < 2) return [node];
    initializers.set(name, initializer(name, value.value));
    return [];
  });
  return { ...graph, nodes, initializers };
}

/**
 * The graph with the initializers of its bodies (If, Loop, Scan, at any depth) moved to the outside, where they are
 * weights like all others; bodies take them from there. Names that are taken get a number.
 */
export function hoistInitializers(graph: OnnxGraph): OnnxGraph {
  if (!graph.nodes.some((node) => subgraphsOf(node).length > 0)) return graph;
  const taken = new Set([...graph.inputs.map((each) => each.name), ...graph.initializers.keys()]);
  for (const node of graph.nodes) for (const name of [...node.outputs, ...namesInBodies(node)]) taken.add(name);
  const names = createNames(taken);
  const moved: Initializer[] = [];
  const hoisted = (body: OnnxGraph): OnnxGraph => {
    const inputs = new Set(body.inputs.map((each) => each.name));
    const own = [...body.initializers.values()].filter((each) => !inputs.has(each.name));
    const renamed = new Map(own.map((each) => [each.name, names.take(each.name)]));
    for (const each of own) moved.push({ ...each, name: renamed.get(each.name) as string });
    const kept = new Map([...body.initializers].filter(([name]) => !renamed.has(name)));
    const outputs = body.outputs.map((each) => ({ ...each, name: renamed.get(each.name) ?? each.name }));
    const inner = redirect({ ...body, initializers: kept, outputs }, renamed);
    return { ...inner, nodes: inner.nodes.map(withHoisted) };
  };
  const withHoisted = (node: OnnxNode): OnnxNode =>
    subgraphsOf(node).length === 0 ? node : { ...node, attributes: mapBodies(node.attributes, hoisted) };
  const nodes = graph.nodes.map(withHoisted);
  const initializers = new Map(graph.initializers);
  for (const each of moved) initializers.set(each.name, each);
  return { ...graph, nodes, initializers };
}
