import { type Tensor, tensor } from "@loomweight/tensor";
import { describe, expect, test } from "vitest";
import {
  add,
  assemble,
  encodeOnnx,
  findParameters,
  type GraphValue,
  importOnnx,
  initializer,
  input,
  insertDropout,
  instantiate,
  isTensor,
  lazyTensor,
  matMul,
  mul,
  named,
  node,
  type OnnxGraph,
  type OnnxModel,
  onnxNode,
  parameter,
  reduceMean,
  relu,
  reshape,
  sub,
  valuesOf,
} from "../src/index.ts";
import { feedOf, runModel } from "./round-trip.ts";

const x = input("x", "float32", ["batch", 2]);
const layer = named("layer", () => {
  const weight = parameter("layer.weight", lazyTensor(tensor([1, -2, 3, 4], [2, 2])));
  const bias = parameter("layer.bias", lazyTensor(tensor([0.5, -0.5], [2])));
  return relu(add(matMul(x, weight), bias));
});
const linear = assemble({ name: "linear", inputs: [x], outputs: { y: reshape(layer, [-1, 2, 1]) } });

async function run(outputs: Record<string, GraphValue | Tensor>, inputs: GraphValue[], feeds: Record<string, Tensor>) {
  const bytes = await encodeOnnx(assemble({ name: "g", inputs, outputs }));
  const given = Object.fromEntries(Object.entries(feeds).map(([name, each]) => [name, feedOf(each)]));
  const results = await runModel(bytes, given);
  return Object.fromEntries(Object.entries(results).map(([name, each]) => [name, [...(each.data as Float32Array)]]));
}

describe("an imported model is called", () => {
  test("as it is: its weights are parameters, its shapes constants, its names kept", async () => {
    const imported = await importOnnx(linear);
    expect([...imported.parameters.keys()]).toEqual(["layer.weight", "layer.bias"]);
    expect([...imported.constants.keys()]).toEqual(["/constants/int64/[-1,2,1]"]);
    const { inputs, outputs, parameters } = instantiate(imported);
    expect(outputs.y).toMatchObject({ dtype: "float32", shape: ["batch", 2, 1] });
    expect(parameters["layer.bias"]).toBe(imported.parameters.get("layer.bias"));
    const again = assemble({ name: "linear", inputs: [inputs.x as GraphValue], outputs });
    expect(again.graph.nodes).toEqual(linear.graph.nodes);
    expect([...again.graph.initializers.keys()]).toEqual([...linear.graph.initializers.keys()]);
  });

  test("on tensors: computed at once", async () => {
    const imported = await importOnnx(linear);
    const weights = { "layer.weight": tensor([1, 0, 0, 1], [2, 2]), "layer.bias": tensor([0, 1], [2]) };
    const { outputs } = instantiate(imported, { inputs: { x: tensor([1, -3], [1, 2]) }, parameters: weights });
    expect(isTensor(outputs.y) && [...outputs.y.data]).toEqual([1, 0]);
    expect(outputs.y.shape).toEqual([1, 2, 1]);
  });

  test("twice in one graph, with other weights the second time, as a loss needs it", async () => {
    const imported = await importOnnx(linear);
    const teacher = instantiate(imported, { inputs: { x }, prefix: "teacher" });
    const own = parameter("student.weight", lazyTensor(tensor([1, 0, 0, 1], [2, 2])));
    const student = instantiate(imported, { inputs: { x }, parameters: { "layer.weight": own } });
    const gap = sub(student.outputs.y, teacher.outputs.y);
    const loss = reduceMean(mul(gap, gap), [0, 1, 2], false) as GraphValue;
    const model = assemble({ name: "distil", inputs: [x], outputs: { loss } });
    // The bias is one weight of both.
    expect([...model.graph.initializers.keys()].filter((name) => !name.startsWith("/"))).toEqual([
      "student.weight",
      "layer.bias",
      "layer.weight",
    ]);
    expect(model.graph.nodes.map((each) => each.name)).toContain("/teacher/layer/MatMul");
    // x = [1, 1]: student relu(1.5, 0.5), teacher relu(4.5, 1.5) → (9 + 1) / 2
    expect(await run({ loss }, [x], { x: tensor([1, 1], [1, 2]) })).toEqual({ loss: [5] });
  });

  test("on another batch than it was exported for, as far as its nodes allow", async () => {
    const fixed = input("x", "float32", [1, 2]);
    const [hidden] = node("Mystery", [fixed], { domain: "test", outputs: [{ dtype: "float32", shape: [1, 2] }] });
    const model = assemble({ name: "g", inputs: [fixed], outputs: { y: add(hidden, 1), z: add(fixed, 1) } });
    const imported = await importOnnx(model);
    expect(instantiate(imported).outputs.y.shape).toEqual([1, 2]);
    const four = instantiate(imported, { inputs: { x: input("x", "float32", [4, 2]) } });
    expect(four.outputs.z.shape).toEqual([4, 2]);
    expect(four.outputs.y.shape).toEqual(["?", "?"]); // what the file records of an unknown op no longer holds
  });

  test("hidden values are there by name, and unknown ones are named", async () => {
    const instance = await valuesOf(linear);
    expect(instance.value("/layer/MatMul/output_0").shape).toEqual(["batch", 2]);
    expect(() => instance.value("/layer/MatMul/output_1")).toThrow(/unknown value.*Did you mean/);
  });
});

describe("what does not fit is named", () => {
  test("inputs and weights of wrong names and types", async () => {
    const imported = await importOnnx(linear);
    const given = (inputs: Record<string, Tensor>) => () => instantiate(imported, { inputs });
    expect(given({ xs: tensor([1], [1, 1]) })).toThrow(/unknown input "xs".*Did you mean "x"/);
    expect(given({ x: tensor([1, 2], [2]) })).toThrow(/wrong number of axes.*expected \[batch,2\], found \[2\]/);
    expect(given({ x: tensor([1, 2], [1, 2], "float64") })).toThrow(/wrong dtype.*expected float32, found float64/);
    expect(given({ x: tensor([1, 2, 3], [1, 3]) })).toThrow(/3 columns do not meet 2 rows/);
    const weights = (parameters: Record<string, Tensor>) => () => instantiate(imported, { parameters });
    expect(weights({ "layer.wait": tensor([1]) })).toThrow(/unknown initializer.*Did you mean "layer.weight"/);
    expect(weights({ "layer.bias": tensor([1]) })).toThrow(/expected float32 \[2\], found float32 \[1\]/);
  });

  test("an op whose results nothing tells", async () => {
    const bare = {
      ...linear.graph,
      valueInfo: new Map(),
      nodes: [onnxNode("Mystery", ["x"], ["a"]), onnxNode("Relu", ["a"], ["y"])],
    };
    await expect(valuesOf({ ...linear, graph: bare })).rejects.toMatchObject({ code: "UNKNOWN_TYPE" });
  });
});

test("weights are found by name", async () => {
  const imported = await importOnnx(linear);
  expect([...findParameters(imported).keys()]).toEqual(["layer.weight", "layer.bias"]);
  expect([...findParameters(imported, "*.bias").keys()]).toEqual(["layer.bias"]);
  expect([...findParameters(imported, /weight$/).keys()]).toEqual(["layer.weight"]);
  expect(() => findParameters(imported, "head.*")).toThrow(/no weight.*named like head\.\*.*layer.weight/);
});

test("dropout is put in as masks that are inputs, and the dropout of the file brought back", async () => {
  const graph: OnnxGraph = {
    ...linear.graph,
    nodes: [onnxNode("Relu", ["x"], ["a"]), onnxNode("Dropout", ["a"], ["b"]), onnxNode("Neg", ["b"], ["y"])],
    outputs: [{ name: "y", dtype: "float32", shape: ["batch", 2] }],
  };
  const imported = await importOnnx({ ...linear, graph });
  const plain = instantiate(imported);
  expect(
    assemble({ name: "g", inputs: [plain.inputs.x as GraphValue], outputs: plain.outputs }).graph.nodes.map(
      (each) => each.op,
    ),
  ).toEqual(["Relu", "Neg"]);
  const dropout = insertDropout(0.5, { ops: ["Dropout"] });
  const { inputs, outputs } = instantiate(imported, { change: dropout.change });
  expect(dropout.masks).toMatchObject([{ name: "dropout/b", dtype: "float32", shape: ["batch", 2] }]);
  const found = await run(outputs as Record<string, GraphValue>, [inputs.x as GraphValue, ...dropout.masks], {
    x: tensor([1, 3], [1, 2]),
    "dropout/b": tensor([0, 2], [1, 2]),
  });
  expect(found).toEqual({ y: [-0, -6] });
  expect(() => insertDropout(1, {})).toThrow(/rate.*found 1/);
});

describe("bodies", () => {
  const scalar = (name: string, dtype: "bool" | "float32") => ({ name, dtype, shape: [] as number[] });
  const body = (op: string, output: string): OnnxGraph => ({
    name: output,
    nodes: [onnxNode(op, ["hidden", "w"], [output])],
    inputs: [],
    outputs: [{ name: output, dtype: undefined, shape: undefined }],
    initializers: new Map(),
    valueInfo: new Map(),
  });
  const branching: OnnxModel = {
    ...linear,
    graph: {
      name: "branching",
      nodes: [
        onnxNode("Abs", ["x"], ["hidden"]),
        onnxNode("If", ["up"], ["y"], {
          name: "choice",
          attributes: {
            then_branch: { type: "graph", value: body("Add", "sum") },
            else_branch: { type: "graph", value: body("Mul", "product") },
          },
        }),
      ],
      inputs: [scalar("up", "bool"), { name: "x", dtype: "float32", shape: ["n"] }],
      outputs: [{ name: "y", dtype: "float32", shape: ["n"] }],
      initializers: new Map([["w", initializer("w", tensor([10], [1]))]]),
      valueInfo: new Map(),
    },
  };

  test("take what they need from around them, whatever it is called in the new graph", async () => {
    const imported = await importOnnx(branching);
    const two = input("sum", "float32", [2]); // the name of a value inside a body
    const up = input("up", "bool", []);
    const { outputs } = instantiate(imported, { inputs: { up, x: two }, prefix: "p" });
    expect(outputs.y.shape).toEqual([2]);
    const y = outputs.y as GraphValue;
    expect(Object.keys(y.node?.captures ?? {})).toEqual(["hidden", "w"]);
    const doubled = instantiate(imported, {
      inputs: { up, x: y },
      parameters: { w: parameter("v", lazyTensor(tensor([2], [1]))) },
    });
    const feeds = { sum: tensor([-1, 3], [2]), up: tensor([1], [], "bool") };
    expect(await run({ y, z: doubled.outputs.y as GraphValue }, [two, up], feeds)).toEqual({
      y: [11, 13],
      z: [13, 15],
    });
    feeds.up = tensor([0], [], "bool");
    expect(await run({ y, z: doubled.outputs.y as GraphValue }, [two, up], feeds)).toEqual({
      y: [10, 30],
      z: [20, 60],
    });
  });
});
