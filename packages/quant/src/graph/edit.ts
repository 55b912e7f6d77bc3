import type { Initializer, LazyTensor, OnnxGraph, OnnxModel, OnnxNode } from "@loomweight/graph";

/** What a rewrite changes: nodes in place of one, and initializers beside the old ones. */
export interface GraphEdit {
  readonly nodes: OnnxNode[];
  /** Initializers of the new graph by name, in order. */
  readonly initializers: Map<string, Initializer>;
  /** A name near `wanted` that no value of the graph has; it is then taken. */
  fresh(wanted: string): string;
}

/** Starts a rewrite of `graph`: no nodes yet, all of its initializers. */
export function startEdit(graph: OnnxGraph): GraphEdit {
  const taken = valueNames(graph);
  return {
    nodes: [],
    initializers: new Map(graph.initializers),
    fresh(wanted) {
      let name = wanted;
      for (let i = 1; taken.has(name); i++) name = `${wanted}_${i}`;
      taken.add(name);
      return name;
    },
  };
}

/** The names of all values: inputs, initializers, outputs of nodes. */
export function valueNames(graph: OnnxGraph): Set<string> {
  const names = new Set([...graph.inputs, ...graph.outputs].map(({ name }) => name));
  for (const name of graph.initializers.keys()) names.add(name);
  for (const node of graph.nodes) for (const output of node.outputs) names.add(output);
  return names;
}

/** A node with defaults filled in. */
export function makeOnnxNode(
  node: Pick<OnnxNode, "op" | "name" | "inputs" | "outputs"> & Partial<Pick<OnnxNode, "domain" | "attributes">>,
): OnnxNode {
  return { domain: "", attributes: {}, ...node };
}

/** An initializer that is computed when it is written. */
export function lazyInitializer(name: string, data: LazyTensor): Initializer {
  return { name, dtype: data.dtype, shape: data.shape, data };
}

/**
 * The model with the rewritten graph: initializers that nothing uses any more are dropped with their entries among the
 * graph's inputs (old files list weights there), and `opsets` are raised to at least what is asked.
 */
export function finishEdit(
  model: OnnxModel,
  edit: GraphEdit,
  opsets: Readonly<Record<string, number>> = {},
): OnnxModel {
  const raised: Record<string, number> = { ...model.opsets };
  for (const [domain, version] of Object.entries(opsets)) raised[domain] = Math.max(raised[domain] ?? 0, version);
  const used = usedNames({ ...model.graph, nodes: edit.nodes });
  const initializers = new Map([...edit.initializers].filter(([name]) => used.has(name)));
  const dropped = new Set([...model.graph.initializers.keys()].filter((name) => !initializers.has(name)));
  const produced = new Set(edit.nodes.flatMap(({ outputs }) => outputs));
  return {
    ...model,
    opsets: raised,
    graph: {
      ...model.graph,
      nodes: edit.nodes,
      initializers,
      inputs: model.graph.inputs.filter(({ name }) => !dropped.has(name)),
      valueInfo: new Map([...model.graph.valueInfo].filter(([name]) => produced.has(name) || initializers.has(name))),
    },
  };
}

/** Names that a graph's nodes (their bodies included) and outputs read. */
export function usedNames(graph: OnnxGraph): Set<string> {
  const used = new Set(graph.outputs.map(({ name }) => name));
  const visit = (nodes: readonly OnnxNode[]): void => {
    for (const node of nodes) {
      for (const input of node.inputs) used.add(input);
      for (const body of bodies(node)) {
        for (const { name } of body.outputs) used.add(name);
        visit(body.nodes);
      }
    }
  };
  visit(graph.nodes);
  return used;
}

/** The graphs inside a node: bodies of If, Loop and Scan. */
export function bodies(node: OnnxNode): readonly OnnxGraph[] {
  return Object.values(node.attributes).flatMap((attribute) =>
    attribute.type === "graph" ? [attribute.value] : attribute.type === "graphs" ? attribute.value : [],
  );
}
