import { fromData, type Tensor, tensor } from "@loomweight/tensor";
import { expect, test } from "vitest";
import {
  add,
  assemble,
  changeGraph,
  checkModel,
  concat,
  foldConstants,
  gather,
  indexGraph,
  inferTypes,
  initializer,
  input,
  int,
  matMul,
  type OnnxModel,
  onnxNode,
  pruneUnused,
  redirect,
  relu,
  replaceNode,
  reshape,
  shapeOf,
  sortNodes,
  transpose,
  withInferredTypes,
} from "./index.ts";

const x = input("x", "float32", ["batch", 4]);
const model = assemble({
  name: "g",
  inputs: [x],
  outputs: { y: relu(add(matMul(x, tensor(new Array(8).fill(1), [4, 2])), 1)) },
});

const withNodes = (nodes: OnnxModel["graph"]["nodes"], more: Partial<OnnxModel["graph"]> = {}): OnnxModel => ({
  ...model,
  graph: { ...model.graph, nodes, ...more },
});

test("the index knows who makes and who uses a value", () => {
  const index = indexGraph(model.graph);
  const [product, sum, last] = model.graph.nodes;
  expect(index.producer(sum.inputs[0])).toBe(product);
  expect(index.consumers(product.outputs[0])).toEqual([sum]);
  expect(index.consumers("x")).toEqual([product]);
  expect(index.isOutput("y")).toBe(true);
  expect(index.producer("y")).toBe(last);
  expect([index.freshName("y"), index.freshName("y"), index.freshName("z")]).toEqual(["y_1", "y_2", "z"]);
});

test("a node is replaced, and what nothing needs any more is dropped", () => {
  const [, sum] = model.graph.nodes;
  const other = onnxNode("Identity", [sum.inputs[0]], sum.outputs, { name: "copy" });
  const changed = pruneUnused(replaceNode(model.graph, sum, [other]));
  expect(changed.nodes.map((each) => each.op)).toEqual(["MatMul", "Identity", "Relu"]);
  expect(changed.initializers.size).toBe(1);
  expect(model.graph.nodes[1]).toBe(sum);
  checkModel({ ...model, graph: changed });
});

test("uses are redirected, inside subgraphs too, but not where a body has its own value of the name", () => {
  const body = (own: boolean): OnnxModel["graph"] => ({
    ...model.graph,
    inputs: [],
    initializers: new Map(own ? [["a", initializer("a", tensor([1]))]] : []),
    nodes: [onnxNode("Relu", ["a"], ["b"])],
    outputs: [{ name: "b", dtype: "float32", shape: [1] }],
  });
  const choice = onnxNode("If", ["c"], ["d"], {
    attributes: {
      then_branch: { type: "graph", value: body(false) },
      else_branch: { type: "graph", value: body(true) },
    },
  });
  const graph = changeGraph(model.graph, { replace: new Map(), nodes: [choice] });
  const changed = redirect(
    graph,
    new Map([
      ["a", "z"],
      ["c", "k"],
    ]),
  ).nodes.at(-1);
  expect(changed?.inputs).toEqual(["k"]);
  const branches = Object.values(changed?.attributes ?? {}).map(
    (each) => each.type === "graph" && each.value.nodes[0].inputs[0],
  );
  expect(branches).toEqual(["z", "a"]);
  expect(indexGraph(graph).consumers("a")).toEqual([choice]);
});

test("faults of a graph are named", () => {
  const relu1 = onnxNode("Relu", ["x"], ["a"], { name: "one" });
  expect(() => checkModel(withNodes([relu1, onnxNode("Relu", ["x"], ["a"], { name: "two" })]))).toThrow(
    /node "two": two values are named "a"/,
  );
  expect(() => checkModel(withNodes([onnxNode("Relu", ["gone"], ["y"], { name: "one" })]))).toThrow(
    /node "one": nothing makes the value "gone"/,
  );
  expect(() => checkModel(withNodes([relu1]))).toThrow(/nothing makes the output "y"/);
  const loop = [onnxNode("Relu", ["b"], ["a"]), onnxNode("Relu", ["a"], ["b"]), onnxNode("Relu", ["a"], ["y"])];
  expect(() => checkModel(withNodes(loop))).toThrow(/cycle through/);
  expect(() => checkModel(withNodes([onnxNode("Relu", ["a"], ["y"]), relu1]))).toThrow(/"a" is used before it is made/);
  expect(() => checkModel(withNodes([onnxNode("Odd", ["x"], ["y"], { domain: "mine" })]))).toThrow(
    /domain "mine".*no opset/,
  );
  const wrong = new Map([["w", { ...initializer("w", tensor([1, 2])), shape: [3] }]]);
  expect(() => checkModel(withNodes([onnxNode("Relu", ["x"], ["y"])], { initializers: wrong }))).toThrow(
    /"w" is not what it claims/,
  );
  checkModel(model);
});

test("nodes are brought in order, however deep the graph", () => {
  const count = 20_000;
  const nodes = Array.from({ length: count }, (_, i) =>
    onnxNode("Relu", [i === 0 ? "x" : `v${i - 1}`], [i === count - 1 ? "y" : `v${i}`], { name: `n${i}` }),
  );
  const sorted = sortNodes(withNodes([...nodes].reverse()).graph);
  expect(sorted.nodes).toEqual(nodes);
});

test("types of an imported graph follow from its inputs, with shape arithmetic through initializers", async () => {
  const batch = gather(shapeOf(x), 0);
  const y = transpose(reshape(x, [batch, 2, -1]), [1, 0, 2]);
  const traced = assemble({ name: "g", inputs: [x], outputs: { y } });
  const bare = {
    ...traced,
    graph: { ...traced.graph, valueInfo: new Map(), outputs: [{ name: "y", dtype: undefined, shape: undefined }] },
  };
  const types = await inferTypes(bare);
  expect(types.get("y")).toMatchObject({ dtype: "float32", shape: [2, "batch", 2] });
  const recorded = await withInferredTypes(bare);
  expect(recorded.graph.valueInfo.get("/Reshape/output_0")).toEqual({
    name: "/Reshape/output_0",
    dtype: "float32",
    shape: ["batch", 2, 2],
  });
});

test("what a rule refuses is left open, or thrown when asked", async () => {
  const bad = withNodes([onnxNode("MatMul", ["x", "w"], ["y"])], {
    initializers: new Map([["w", initializer("w", tensor([1, 2, 3], [3, 1]))]]),
    outputs: [{ name: "y", dtype: undefined, shape: undefined }],
  });
  expect((await inferTypes(bad)).has("y")).toBe(false);
  await expect(inferTypes(bad, { strict: true })).rejects.toThrow(/MatMul.*4 columns do not meet 3 rows/);
});

test("constants are folded, large and symbolic ones are not", async () => {
  const nodes = [
    onnxNode("Constant", [], ["two"], { attributes: { value: { type: "tensor", value: tensor([2]) } } }),
    onnxNode("Mul", ["w", "two"], ["w2"]),
    onnxNode("Cast", ["w2"], ["half"], { attributes: { to: int(10) } }),
    onnxNode("Cast", ["half"], ["back"], { attributes: { to: int(1) } }),
    onnxNode("Add", ["x", "back"], ["y"]),
  ];
  const weights = new Map([["w", initializer("w", tensor([1, 2, 3, 0.1], [4]))]]);
  const before = withNodes(nodes, { initializers: weights });
  const folded = await foldConstants(before);
  expect(folded.graph.nodes.map((each) => each.op)).toEqual(["Add"]);
  expect([...folded.graph.initializers.keys()]).toEqual(["back"]);
  const back = (await folded.graph.initializers.get("back")?.data.read()) as Tensor<"float32">;
  expect([...back.data]).toEqual([2, 4, 6, 0.199951171875]);
  const kept = await foldConstants(before, { mostElements: 3 });
  expect(kept.graph.nodes.map((each) => each.op)).toEqual(["Mul", "Cast", "Cast", "Add"]);
});

test("powers and ranges of hostile size are not computed while folding", async () => {
  const big = (values: bigint[]) =>
    fromData("int64", BigInt64Array.from(values), values.length === 1 ? [] : [values.length]);
  const weights = new Map(
    Object.entries({
      a: big([3n]),
      b: big([2n ** 62n]),
      zero: big([0n]),
      one: big([1n]),
      shape: big([2n ** 31n, 2n ** 31n]),
    }).map(([name, each]) => [name, initializer(name, each)]),
  );
  const nodes = [
    onnxNode("Pow", ["a", "b"], ["p"]),
    onnxNode("Range", ["zero", "b", "one"], ["r"]),
    onnxNode("ConstantOfShape", ["shape"], ["c"]),
    onnxNode("Use", ["x", "p", "r", "c"], ["y"]),
  ];
  const folded = await foldConstants(withNodes(nodes, { initializers: weights }));
  expect(folded.graph.nodes.map((each) => each.op)).toEqual(["Range", "ConstantOfShape", "Use"]);
});

test("concatenated empty and full parts keep their order", () => {
  const joined = concat([tensor([], [0, 2]), tensor([1, 2], [1, 2])], 0);
  expect(joined).toMatchObject({ shape: [1, 2], data: Float32Array.of(1, 2) });
});
