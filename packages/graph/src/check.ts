import { LoomweightError } from "@loomweight/tensor";
import type { OnnxGraph, OnnxModel, OnnxNode } from "./model.ts";
import { subgraphsOf, usedBy } from "./rewrite.ts";

function invalid(problem: string, details: { node?: string; found?: string; fix?: string } = {}): LoomweightError {
  return new LoomweightError({ code: "INVALID_GRAPH", problem, ...details });
}

/**
 * Throws `INVALID_GRAPH` where a model is not well formed: two values of one name, a value used that nothing makes,
 * a cycle, an output that nothing makes, a domain without an opset, weights whose data is not of their dtype or shape.
 */
export function checkModel(model: OnnxModel): void {
  checkGraph(model.graph, model.opsets, new Set());
}

function checkGraph(graph: OnnxGraph, opsets: OnnxModel["opsets"], outside: ReadonlySet<string>): void {
  const defined = new Set<string>();
  for (const { name } of graph.inputs) {
    if (name === "" || defined.has(name)) throw invalid(`two inputs are named "${name}"`);
    defined.add(name);
  }
  for (const [name, { dtype, shape, data }] of graph.initializers) {
    defined.add(name); // an initializer may give an input its default
    if (data.dtype !== dtype || `${data.shape}` !== `${shape}`) {
      throw invalid(`the data of initializer "${name}" is not what it claims`, {
        found: `${data.dtype} [${data.shape}] for ${dtype} [${shape}]`,
      });
    }
  }
  const made = new Set(defined);
  for (const node of graph.nodes) {
    const domain = node.domain === "ai.onnx" ? "" : node.domain;
    if (!Object.hasOwn(opsets, domain) && !(domain === "" && Object.hasOwn(opsets, "ai.onnx"))) {
      throw invalid(`${node.op} is of the domain "${domain}", for which the model imports no opset`, {
        node: node.name,
      });
    }
    for (const name of node.outputs) {
      if (name === "") continue;
      if (made.has(name)) throw invalid(`two values are named "${name}"`, { node: node.name });
      made.add(name);
    }
  }
  const seen = new Set([...outside, ...defined]);
  for (const node of graph.nodes) {
    for (const name of usedBy(node)) {
      if (seen.has(name)) continue;
      throw made.has(name)
        ? outOfOrder(graph, node, name)
        : invalid(`nothing makes the value "${name}"`, { node: node.name });
    }
    for (const inner of subgraphsOf(node)) checkGraph(inner, opsets, seen);
    for (const name of node.outputs) seen.add(name);
  }
  for (const { name } of graph.outputs) {
    if (!seen.has(name)) throw invalid(`nothing makes the output "${name}"`);
  }
}

function outOfOrder(graph: OnnxGraph, node: OnnxNode, value: string): LoomweightError {
  try {
    sortNodes(graph);
  } catch (cause) {
    if (cause instanceof LoomweightError) return cause;
  }
  return invalid(`the value "${value}" is used before it is made`, {
    node: node.name,
    fix: "Bring the nodes in order: `sortNodes`.",
  });
}

/** The graph with its nodes in an order in which values are made before they are used; throws `INVALID_GRAPH` for a cycle. */
export function sortNodes(graph: OnnxGraph): OnnxGraph {
  const producers = new Map<string, OnnxNode>();
  for (const node of graph.nodes) for (const name of node.outputs) producers.set(name, node);
  const sorted: OnnxNode[] = [];
  const state = new Map<OnnxNode, "open" | "done">();
  for (const start of graph.nodes) {
    const stack = [start];
    while (stack.length > 0) {
      const node = stack[stack.length - 1];
      if (state.get(node) !== undefined) {
        stack.pop();
        if (state.get(node) === "open") sorted.push(node);
        state.set(node, "done");
        continue;
      }
      state.set(node, "open");
      for (const name of usedBy(node).reverse()) {
        const before = producers.get(name);
        if (before === undefined || state.get(before) === "done") continue;
        if (state.get(before) === "open") {
          throw invalid(`the graph has a cycle through "${name}"`, { node: node.name || node.op });
        }
        stack.push(before);
      }
    }
  }
  return { ...graph, nodes: sorted };
}
