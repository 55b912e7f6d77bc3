import { type Tensor, tensor } from "@loomweight/tensor";
import { describe, expect, test } from "vitest";
import {
  add,
  assemble,
  encodeOnnx,
  findParameters,
  type GraphValue,
  gradient,
  importOnnx,
  initializer,
  input,
  insertDropout,
  instantiate,
  int,
  ints,
  isTensor,
  lazyTensor,
  log,
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

  test("give way to the branch that is taken where the condition is a constant", async () => {
    const imported = await importOnnx(branching);
    for (const [flag, op] of [
      [1, "Add"],
      [0, "Mul"],
    ] as const) {
      const { outputs } = instantiate(imported, { inputs: { up: tensor([flag], [], "bool") } });
      expect((outputs.y as GraphValue).node?.op).toBe(op);
    }
  });

  test("have no weights of their own: they become weights of the model, with names of their own", async () => {
    const then = { ...body("Add", "sum"), initializers: new Map([["w", initializer("w", tensor([1], [1]))]]) };
    const other = { ...body("Add", "sum"), initializers: new Map([["w", initializer("w", tensor([2], [1]))]]) };
    const attributes = {
      then_branch: { type: "graph" as const, value: then },
      else_branch: { type: "graph" as const, value: other },
    };
    const [abs, choice] = branching.graph.nodes;
    const graph = { ...branching.graph, nodes: [abs, { ...choice, attributes }], initializers: new Map() };
    const imported = await importOnnx({ ...branching, graph });
    expect([...imported.parameters.keys()]).toEqual(["w_1", "w_2"]);
    const { outputs, inputs } = instantiate(imported);
    const feeds = { x: tensor([3], [1]), up: tensor([0], [], "bool") };
    const given = Object.values(inputs) as GraphValue[];
    expect(await run({ y: outputs.y as GraphValue }, given, feeds)).toEqual({ y: [5] });
  });
});

test("constants of floats are weights, single numbers and shapes are not", async () => {
  const constant = (name: string, value: Tensor) =>
    onnxNode("Constant", [], [name], { attributes: { value: { type: "tensor", value } } });
  const graph: OnnxGraph = {
    ...linear.graph,
    nodes: [
      constant("kernel", tensor([1, 2, 3, 4], [2, 2])),
      constant("half", tensor([0.5], [])),
      onnxNode("MatMul", ["x", "kernel"], ["a"]),
      onnxNode("Mul", ["a", "half"], ["y"]),
    ],
    outputs: [{ name: "y", dtype: "float32", shape: ["batch", 2] }],
    initializers: new Map(),
  };
  const imported = await importOnnx({ ...linear, graph });
  expect([...imported.parameters.keys()]).toEqual(["kernel"]);
  const { outputs } = instantiate(imported, {
    inputs: { x: tensor([1, 1], [1, 2]) },
    parameters: { kernel: tensor([2, 0, 0, 2], [2, 2]) },
  });
  expect(isTensor(outputs.y) && [...outputs.y.data]).toEqual([1, 1]);
});

test("an imported model is differentiated and trained: an old file, extended by a loss", async () => {
  // Of opset 9: Conv → BatchNormalization → Relu → GlobalAveragePool → Flatten → Gemm → Softmax (over all axes from 1).
  const pattern = (count: number, shape: number[], shift: number) =>
    initializer(
      "",
      tensor(
        Array.from({ length: count }, (_, i) => Math.sin(1.7 * i + shift)),
        shape,
      ),
    );
  const weights = {
    kernel: pattern(18, [2, 1, 3, 3], 0),
    scale: pattern(2, [2], 1),
    shift: pattern(2, [2], 2),
    mean: pattern(2, [2], 3),
    variance: initializer("", tensor([1, 2], [2])),
    head: pattern(6, [3, 2], 4),
    bias: pattern(3, [3], 5),
  };
  const model: OnnxModel = {
    ...linear,
    irVersion: 4,
    opsets: { "": 9 },
    graph: {
      name: "cnn",
      nodes: [
        onnxNode("Conv", ["image", "kernel"], ["c"], { attributes: { pads: ints([1, 1, 1, 1]) } }),
        onnxNode("BatchNormalization", ["c", "scale", "shift", "mean", "variance"], ["n"]),
        onnxNode("Relu", ["n"], ["r"]),
        onnxNode("GlobalAveragePool", ["r"], ["p"]),
        onnxNode("Flatten", ["p"], ["f"]),
        onnxNode("Gemm", ["f", "head", "bias"], ["g"], { attributes: { transB: int(1) } }),
        onnxNode("Softmax", ["g"], ["probabilities"]),
      ],
      inputs: [{ name: "image", dtype: "float32", shape: ["batch", 1, 4, 4] }],
      outputs: [{ name: "probabilities", dtype: "float32", shape: ["batch", 3] }],
      initializers: new Map(Object.entries(weights).map(([name, each]) => [name, { ...each, name }])),
      valueInfo: new Map(),
    },
  };
  const imported = await importOnnx(model);
  const trained = findParameters(imported, /kernel|scale|shift|head|bias/);
  const values = Object.fromEntries([...trained].map(([name, { dtype, shape }]) => [name, input(name, dtype, shape)]));
  const image = input("image", "float32", [2, 1, 4, 4]);
  const { outputs } = instantiate(imported, { inputs: { image }, parameters: values });
  const target = tensor([1, 0, 0, 0, 0, 1], [2, 3]);
  const loss = reduceMean(mul(log(outputs.probabilities), target), [0, 1], false);
  const negative = mul(loss, -6) as GraphValue;
  const gradients = gradient(negative, values);
  const step = Object.fromEntries(
    Object.keys(values).map((name) => [`next/${name}`, sub(values[name], mul(gradients[name], 0.2))]),
  );
  let state: Record<string, Tensor> = {};
  for (const name of trained.keys()) state[name] = await (trained.get(name)?.data?.read() as Promise<Tensor>);
  const pixels = tensor(
    Array.from({ length: 32 }, (_, i) => Math.cos(i)),
    [2, 1, 4, 4],
  );
  const bytes = await encodeOnnx(
    assemble({ name: "step", inputs: [image, ...Object.values(values)], outputs: { loss: negative, ...step } }),
  );
  const losses: number[] = [];
  for (let round = 0; round < 40; round++) {
    const feeds = Object.entries({ image: pixels, ...state }).map(([name, each]) => [name, feedOf(each)]);
    const results = await runModel(bytes, Object.fromEntries(feeds));
    losses.push((results.loss.data as Float32Array)[0]);
    state = Object.fromEntries(
      Object.entries(state).map(([name, { shape }]) => [
        name,
        tensor([...(results[`next/${name}`].data as Float32Array)], [...shape]),
      ]),
    );
  }
  expect(losses[39]).toBeLessThan(losses[0] / 3);
});
