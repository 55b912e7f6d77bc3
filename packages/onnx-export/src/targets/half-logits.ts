import { indexGraph, type OnnxModel } from "@loomweight/graph";

/**
 * The graph with logits in the dtype in which they are computed: a last Cast of half precision to float32 is taken away,
 * as onnxruntime-genai's own builder writes float16 models. Without one the graph stays as it is.
 */
export function halfLogits(model: OnnxModel): OnnxModel {
  const { graph } = model;
  const index = indexGraph(graph);
  const last = index.producer("logits");
  if (last?.op !== "Cast" || index.consumers("logits").length > 0) return model;
  const source = index.producer(last.inputs[0]);
  if (source === undefined || index.consumers(last.inputs[0]).length > 1 || index.isOutput(last.inputs[0]))
    return model;
  const nodes = graph.nodes
    .filter((node) => node !== last)
    .map((node) =>
      node === source
        ? { ...node, outputs: node.outputs.map((name) => (name === last.inputs[0] ? "logits" : name)) }
        : node,
    );
  const outputs = graph.outputs.map((each) => (each.name === "logits" ? { ...each, dtype: "float16" as const } : each));
  return { ...model, graph: { ...graph, nodes, outputs } };
}
