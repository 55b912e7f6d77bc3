import type { Tensor } from "@loomweight/tensor";
import { createNames } from "./assemble.ts";
import { lazyTensor } from "./inputs.ts";
import type { Initializer, OnnxGraph, OnnxNode } from "./model.ts";
import type { Attributes, LazyTensor } from "./value.ts";

/** Who makes and who uses each value of a graph. Uses inside subgraphs count as uses by the node that holds them. */
export interface GraphIndex {
  producer(value: string): OnnxNode | undefined;
  consumers(value: string): readonly OnnxNode[];
  /** Whether the value is an output of the graph. */
  isOutput(value: string): boolean;
  /** A name that no value or node of the graph has yet: `name`, or with a number; it counts as taken from then on. */
  freshName(name: string): string;
}

export function indexGraph(graph: OnnxGraph): GraphIndex {
  const producers = new Map<string, OnnxNode>();
  const consumers = new Map<string, OnnxNode[]>();
  const outputs = new Set(graph.outputs.map((each) => each.name));
  const taken = new Set([...graph.initializers.keys(), ...graph.inputs.map((each) => each.name), ...outputs]);
  for (const node of graph.nodes) {
    taken.add(node.name);
    for (const name of node.outputs) {
      producers.set(name, node);
      taken.add(name);
    }
    for (const name of new Set(usedBy(node))) {
      const list = consumers.get(name);
      if (list === undefined) consumers.set(name, [node]);
      else list.push(node);
    }
  }
  const names = createNames(taken);
  return {
    producer: (value) => producers.get(value),
    consumers: (value) => consumers.get(value) ?? [],
    isOutput: (value) => outputs.has(value),
    freshName: names.take,
  };
}

/** Values that a node uses: its inputs, and what its subgraphs take from outside. */
export function usedBy(node: OnnxNode): string[] {
  const used = node.inputs.filter((name) => name !== "");
  for (const inner of subgraphsOf(node)) used.push(...freeValues(inner));
  return used;
}

/** Bodies of If, Loop and Scan. */
export function subgraphsOf(node: { readonly attributes: Attributes }): readonly OnnxGraph[] {
  return Object.values(node.attributes).flatMap((each) =>
    each.type === "graph" ? [each.value] : each.type === "graphs" ? each.value : [],
  );
}

/** Values that a graph uses but does not define. */
export function freeValues(graph: OnnxGraph): string[] {
  const own = ownNames(graph);
  const used = [...graph.nodes.flatMap(usedBy), ...graph.outputs.map((each) => each.name)];
  return used.filter((name) => !own.has(name));
}

/** A node of an ONNX graph. */
export function onnxNode(
  op: string,
  inputs: readonly string[],
  outputs: readonly string[],
  details: { readonly name?: string; readonly domain?: string; readonly attributes?: Attributes } = {},
): OnnxNode {
  const { name = "", domain = "", attributes = {} } = details;
  return { op, domain, name, inputs, outputs, attributes };
}

/** An initializer from a tensor, or from something that is read when the model is written. */
export function initializer(name: string, data: Tensor | LazyTensor): Initializer {
  const lazy = "read" in data ? data : lazyTensor(data);
  return { name, dtype: lazy.dtype, shape: lazy.shape, data: lazy };
}

export interface GraphChanges {
  /** Node → the nodes that take its place, which must make its outputs; [] removes it. */
  readonly replace?: ReadonlyMap<OnnxNode, readonly OnnxNode[]>;
  /** Added, or put in place of initializers of their names. */
  readonly initializers?: readonly Initializer[];
  /** Added at the end; `sortNodes` brings them where they belong. */
  readonly nodes?: readonly OnnxNode[];
  readonly opsets?: Readonly<Record<string, number>>;
}

/** The graph with changes; the given one stays as it is. */
export function changeGraph(graph: OnnxGraph, { replace, initializers = [], nodes = [] }: GraphChanges): OnnxGraph {
  const weights = new Map(graph.initializers);
  for (const each of initializers) weights.set(each.name, each);
  const kept = replace === undefined ? graph.nodes : graph.nodes.flatMap((node) => replace.get(node) ?? [node]);
  return { ...graph, nodes: [...kept, ...nodes], initializers: weights };
}

/** The graph with `node` replaced by `others`, which must make its outputs. */
export function replaceNode(graph: OnnxGraph, node: OnnxNode, others: readonly OnnxNode[]): OnnxGraph {
  return changeGraph(graph, { replace: new Map([[node, others]]) });
}

/** Uses of one value turned into uses of another, in nodes and their subgraphs (not in the graph's outputs). */
export function redirect(graph: OnnxGraph, names: ReadonlyMap<string, string>): OnnxGraph {
  return { ...graph, nodes: graph.nodes.map((node) => redirectNode(node, names)) };
}

function redirectNode(node: OnnxNode, names: ReadonlyMap<string, string>): OnnxNode {
  const inputs = node.inputs.map((name) => names.get(name) ?? name);
  if (subgraphsOf(node).length === 0) {
    return inputs.every((name, index) => name === node.inputs[index]) ? node : { ...node, inputs };
  }
  return { ...node, inputs, attributes: mapBodies(node.attributes, (inner) => redirectInside(inner, names)) };
}

/** Attributes with every graph among them changed. */
export function mapBodies(attributes: Attributes, change: (body: OnnxGraph) => OnnxGraph): Attributes {
  return Object.fromEntries(
    Object.entries(attributes).map(([key, each]) => {
      if (each.type === "graph") return [key, { ...each, value: change(each.value) }];
      if (each.type === "graphs") return [key, { ...each, value: each.value.map(change) }];
      return [key, each];
    }),
  );
}

/**
 * Bodies with what they take from around them called by other names. Own values, at any depth, whose names are taken
 * outside get others: ONNX lets no name stand for two values.
 */
export function bindBodies(
  attributes: Attributes,
  names: ReadonlyMap<string, string>,
  taken: Pick<ReadonlySet<string>, "has">,
): Attributes {
  return mapBodies(attributes, (body) => {
    const own = ownNames(body);
    const clashes = [...own].filter((name) => taken.has(name));
    const fresh = createNames([...own, ...names.keys()]);
    const free = (name: string) => {
      let made = fresh.take(name);
      while (taken.has(made)) made = fresh.take(name);
      return made;
    };
    const apart = clashes.length === 0 ? body : renameOwn(body, new Map(clashes.map((name) => [name, free(name)])));
    const nodes = apart.nodes.map((node) =>
      subgraphsOf(node).length === 0
        ? node
        : { ...node, attributes: bindBodies(node.attributes, new Map<string, string>(), taken) },
    );
    return redirectInside({ ...apart, nodes }, names);
  });
}

/** A body whose own values have other names, where they are made and where they are used. */
function renameOwn(graph: OnnxGraph, names: ReadonlyMap<string, string>): OnnxGraph {
  const renamed = <T extends { readonly name: string }>(each: T): T => ({
    ...each,
    name: names.get(each.name) ?? each.name,
  });
  const keyed = <T extends { readonly name: string }>(map: ReadonlyMap<string, T>) =>
    new Map([...map.values()].map((each) => [names.get(each.name) ?? each.name, renamed(each)]));
  const nodes = redirect(graph, names).nodes.map((node) => ({
    ...node,
    outputs: node.outputs.map((name) => names.get(name) ?? name),
  }));
  return {
    ...graph,
    nodes,
    inputs: graph.inputs.map(renamed),
    outputs: graph.outputs.map(renamed),
    initializers: keyed(graph.initializers),
    valueInfo: keyed(graph.valueInfo),
  };
}

function ownNames(graph: OnnxGraph): Set<string> {
  const names = new Set([...graph.inputs.map((each) => each.name), ...graph.initializers.keys()]);
  for (const node of graph.nodes) for (const name of node.outputs) names.add(name);
  return names;
}

/** Names that the bodies of a node give to values of their own, at any depth. */
export function namesInBodies(node: { readonly attributes: Attributes }): string[] {
  return subgraphsOf(node).flatMap((body) => [
    ...ownNames(body),
    ...body.nodes.flatMap((inner) => namesInBodies(inner)),
  ]);
}

/** A body's own values hide those outside of the same name. */
function redirectInside(graph: OnnxGraph, names: ReadonlyMap<string, string>): OnnxGraph {
  const free = new Set(freeValues(graph));
  const visible = new Map([...names].filter(([from]) => free.has(from)));
  if (visible.size === 0) return graph;
  const outputs = graph.outputs.map((each) => ({ ...each, name: visible.get(each.name) ?? each.name }));
  return { ...redirect(graph, visible), outputs };
}

/** The graph without nodes, initializers and recorded types that nothing needs. */
export function pruneUnused(graph: OnnxGraph): OnnxGraph {
  const { producer } = indexGraph(graph);
  const needed = new Set<OnnxNode>();
  const values = new Set<string>();
  const stack = graph.outputs.map((each) => each.name);
  for (let name = stack.pop(); name !== undefined; name = stack.pop()) {
    if (values.has(name)) continue;
    values.add(name);
    const node = producer(name);
    if (node === undefined || needed.has(node)) continue;
    needed.add(node);
    stack.push(...usedBy(node));
  }
  const nodes = graph.nodes.filter((node) => needed.has(node));
  const made = new Set([...values, ...nodes.flatMap((node) => node.outputs)]);
  const kept = <T>(map: ReadonlyMap<string, T>, names: ReadonlySet<string>) =>
    new Map([...map].filter(([name]) => names.has(name)));
  return {
    ...graph,
    nodes,
    initializers: kept(graph.initializers, values),
    valueInfo: kept(graph.valueInfo, made),
  };
}
