import { floatOf, intOf, type LazyTensor, type OnnxModel, type OnnxNode } from "@loomweight/graph";
import { finishEdit, lazyInitializer, makeOnnxNode, startEdit, usedNames } from "./edit.ts";

/**
 * Gemm(A, B, C) with alpha = beta = 1, A as it is and a constant matrix B as MatMul(A, B) and Add: nodes
 * `<name>_MatMul` and `<name>_Add`, value `<output>_MatMul` between. A B that Gemm transposes is stored transposed
 * (a view: nothing is copied), under its own name where nothing else reads it.
 */
export function splitGemm(model: OnnxModel, selected: (node: OnnxNode) => boolean): OnnxModel {
  const edit = startEdit(model.graph);
  const uses = countUses(model);
  for (const node of model.graph.nodes) {
    const weight = model.graph.initializers.get(node.inputs[1]);
    const plain =
      node.op === "Gemm" &&
      node.domain === "" &&
      selected(node) &&
      floatOf(node, "alpha", 1) === 1 &&
      floatOf(node, "beta", 1) === 1 &&
      intOf(node, "transA", 0) === 0;
    if (!plain || weight === undefined || weight.shape.length !== 2) {
      edit.nodes.push(node);
      continue;
    }
    let name = weight.name;
    if (intOf(node, "transB", 0) !== 0) {
      if (uses.get(name) !== 1) name = edit.fresh(`${weight.name}_transposed`);
      edit.initializers.set(name, lazyInitializer(name, transposed(weight.data)));
    }
    const bias = node.inputs[2] ?? "";
    const product = bias === "" ? node.outputs[0] : edit.fresh(`${node.outputs[0]}_MatMul`);
    const named = (suffix: string) => (node.name === "" ? "" : `${node.name}_${suffix}`);
    edit.nodes.push(
      makeOnnxNode({ op: "MatMul", name: named("MatMul"), inputs: [node.inputs[0], name], outputs: [product] }),
    );
    if (bias !== "") {
      edit.nodes.push(makeOnnxNode({ op: "Add", name: named("Add"), inputs: [product, bias], outputs: node.outputs }));
    }
  }
  return finishEdit(model, edit);
}

/** How often each value is read at the top level; values that bodies or the graph's outputs read count as many. */
function countUses(model: OnnxModel): Map<string, number> {
  const counts = new Map<string, number>();
  for (const node of model.graph.nodes) {
    for (const input of node.inputs) counts.set(input, (counts.get(input) ?? 0) + 1);
  }
  const direct = new Set(model.graph.nodes.flatMap(({ inputs }) => inputs));
  for (const name of usedNames({ ...model.graph, nodes: model.graph.nodes.map((node) => ({ ...node, inputs: [] })) })) {
    if (direct.has(name)) counts.set(name, Number.POSITIVE_INFINITY);
  }
  return counts;
}

function transposed(data: LazyTensor): LazyTensor {
  return {
    dtype: data.dtype,
    shape: [data.shape[1], data.shape[0]],
    origin: data.origin && {
      tensors: data.origin.tensors,
      transform: data.origin.transform === undefined ? "transpose" : `${data.origin.transform}, transpose`,
    },
    ...(data.stream && { columns: { stored: data.dtype, stream: data.stream } }),
    async read() {
      const tensor = await data.read();
      return { ...tensor, shape: [...tensor.shape].reverse(), stride: [...tensor.stride].reverse() };
    },
  };
}
