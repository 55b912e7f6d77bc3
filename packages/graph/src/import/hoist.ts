import { elementCount, type Tensor } from "@loomweight/tensor";
import { createNames } from "../assemble.ts";
import { tensorAttribute } from "../attributes.ts";
import type { SmallConstants } from "../infer.ts";
import type { Initializer, OnnxGraph, OnnxNode } from "../model.ts";
import { freeValues, initializer, mapBodies, namesInBodies, onnxNode, redirect, subgraphsOf } from "../rewrite.ts";
import { isReal, isWeight, settingsOf } from "./weights.ts";

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
    if (!isReal(dtype) || elementCount(shape) < 2) return [node];
    initializers.set(name, initializer(name, value.value));
    return [];
  });
  return { ...graph, nodes, initializers };
}

/**
 * The graph with bodies (of If, Loop and Scan, at any depth) that hold no initializers: weights move to the outside,
 * where they are weights like all others; shapes, axes and settings, also those taken from outside, become Constant
 * nodes of the body, so that the rules of its ops know them. Names that are taken get a number.
 */
export function hoistInitializers(graph: OnnxGraph, small: SmallConstants): OnnxGraph {
  if (!graph.nodes.some((node) => subgraphsOf(node).length > 0)) return graph;
  const taken = new Set([...graph.inputs.map((each) => each.name), ...graph.initializers.keys()]);
  for (const node of graph.nodes) for (const name of [...node.outputs, ...namesInBodies(node)]) taken.add(name);
  const names = createNames(taken);
  const moved: Initializer[] = [];
  const inputs = new Set(graph.inputs.map((each) => each.name));
  const hoisted = (body: OnnxGraph): OnnxGraph => {
    const given = new Set(body.inputs.map((each) => each.name));
    const settings = settingsOf(body);
    const renamed = new Map<string, string>();
    const constants: OnnxNode[] = [];
    const keep = (each: Initializer, tensor: Tensor) => {
      const name = names.take(each.name);
      renamed.set(each.name, name);
      constants.push(onnxNode("Constant", [], [name], { attributes: { value: tensorAttribute(tensor) } }));
    };
    const rest = new Map<string, Initializer>();
    for (const [name, each] of body.initializers) {
      const tensor = small.get(each);
      if (given.has(name)) rest.set(name, each);
      else if (isWeight(each, settings) || tensor === undefined) {
        const outside = names.take(name);
        renamed.set(name, outside);
        moved.push({ ...each, name: outside });
      } else keep(each, tensor);
    }
    for (const name of new Set(freeValues(body))) {
      const outer = inputs.has(name) ? undefined : graph.initializers.get(name);
      const tensor = outer && small.get(outer);
      if (outer !== undefined && tensor !== undefined && !isWeight(outer, settings)) keep(outer, tensor);
    }
    const outputs = body.outputs.map((each) => ({ ...each, name: renamed.get(each.name) ?? each.name }));
    const inner = redirect({ ...body, initializers: rest, outputs }, renamed);
    return { ...inner, nodes: [...constants, ...inner.nodes.map(withHoisted)] };
  };
  const withHoisted = (node: OnnxNode): OnnxNode =>
    subgraphsOf(node).length === 0 ? node : { ...node, attributes: mapBodies(node.attributes, hoisted) };
  const nodes = graph.nodes.map(withHoisted);
  const initializers = new Map(graph.initializers);
  for (const each of moved) initializers.set(each.name, each);
  return { ...graph, nodes, initializers };
}
