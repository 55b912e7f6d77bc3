import { bytesSource } from "@loomweight/checkpoint";
import { type DType, fromData, type Tensor, tensor } from "@loomweight/tensor";
import { describe, expect, test } from "vitest";
import {
  type Attributes,
  assemble,
  checkModel,
  encodeOnnx,
  float,
  floats,
  type GraphValue,
  importOnnx,
  initializer,
  instantiate,
  int,
  ints,
  normalizeModel,
  type OnnxGraph,
  type OnnxModel,
  type OnnxNode,
  onnxNode,
  readOnnx,
  text,
} from "../src/index.ts";
import { intField, message, messageField, textField } from "../src/protobuf/writer.ts";
import { difference, feedOf, runModel } from "./round-trip.ts";
import { sampleTensor } from "./samples.ts";

interface Old {
  readonly opset: number;
  readonly nodes: readonly OnnxNode[];
  /** x0, x1, …: fed. A shape is float32 with a fixed pattern. */
  readonly inputs?: readonly (readonly number[] | Tensor)[];
  readonly weights?: Readonly<Record<string, Tensor>>;
  readonly outputs?: readonly string[];
  readonly types?: Readonly<Record<string, { readonly dtype: DType; readonly shape: readonly number[] }>>;
  readonly irVersion?: number;
  readonly functions?: OnnxModel["functions"];
  readonly opsets?: Readonly<Record<string, number>>;
}

const feedsOf = ({ inputs = [[2, 3, 4]] }: Old): Record<string, Tensor> =>
  Object.fromEntries(inputs.map((each, i) => [`x${i}`, "dtype" in each ? each : sampleTensor(each, i)]));

function modelOf(old: Old): OnnxModel {
  const { opset, nodes, weights = {}, outputs = ["y"], irVersion = opset < 9 ? 3 : 7 } = old;
  const info = (name: string, { dtype, shape }: Pick<Tensor, "dtype" | "shape">) => ({ name, dtype, shape });
  const given = Object.entries(feedsOf(old)).map(([name, each]) => info(name, each));
  return {
    irVersion,
    producer: { name: "test", version: "" },
    opsets: { "": opset, ...old.opsets },
    functions: old.functions ?? [],
    metadata: {},
    graph: {
      name: "old",
      nodes,
      inputs: irVersion < 4 ? [...given, ...Object.entries(weights).map(([name, each]) => info(name, each))] : given,
      outputs: outputs.map((name) => ({ name, dtype: undefined, shape: undefined, ...old.types?.[name] })),
      initializers: new Map(Object.entries(weights).map(([name, each]) => [name, initializer(name, each)])),
      valueInfo: new Map(),
    },
  };
}

/** The model as it is, normalised, and called: all three run alike. */
async function expectSame(old: Old): Promise<OnnxModel> {
  const model = modelOf(old);
  const feeds = Object.fromEntries(Object.entries(feedsOf(old)).map(([name, each]) => [name, feedOf(each)]));
  // onnxruntime wants to know the dtypes of outputs of old files.
  const expected = await runModel(await encodeOnnx(model), feeds);
  const normal = await normalizeModel(model);
  checkModel(normal);
  expect(normal.opsets[""]).toBe(Math.max(21, old.opset));
  const { inputs, outputs, opsets } = instantiate(await importOnnx(model));
  const called = assemble({ name: "called", inputs: Object.values(inputs) as GraphValue[], outputs, opsets });
  for (const each of [normal, called]) {
    const found = await runModel(await encodeOnnx(each), feeds);
    for (const [name, value] of Object.entries(expected)) {
      expect(difference(value, found[name]), `${name} of ${each.graph.name}`).toBeLessThanOrEqual(1e-6);
    }
  }
  return normal;
}

const one = (
  op: string,
  attributes: Attributes,
  inputs: readonly string[] = ["x0"],
  outputs: readonly string[] = ["y"],
) => onnxNode(op, inputs, outputs, { attributes });
const whole = (values: readonly number[], shape = [values.length]): Tensor =>
  fromData<DType>("int64", BigInt64Array.from(values, BigInt), shape);

const same: Readonly<Record<string, Old>> = {
  "axes of Squeeze": { opset: 11, inputs: [[1, 3, 1]], nodes: [one("Squeeze", { axes: ints([0, 2]) })] },
  "axes of Unsqueeze": { opset: 11, nodes: [one("Unsqueeze", { axes: ints([0, 2]) })] },
  "axes of ReduceSum": { opset: 11, nodes: [one("ReduceSum", { axes: ints([1]), keepdims: int(0) })] },
  "ReduceMean over all": { opset: 17, nodes: [one("ReduceMean", {})] },
  "axes of ReduceMax": { opset: 13, nodes: [one("ReduceMax", { axes: ints([-1]) })] },
  "axes of ReduceL2": { opset: 17, nodes: [one("ReduceL2", { axes: ints([0, 1]) })] },
  "sizes of Split": {
    opset: 11,
    nodes: [one("Split", { axis: int(2), split: ints([1, 3]) }, ["x0"], ["y", "z"])],
    outputs: ["y", "z"],
  },
  "equal parts of Split": {
    opset: 13,
    nodes: [one("Split", { axis: int(2) }, ["x0"], ["y", "z"])],
    outputs: ["y", "z"],
  },
  "starts and ends of Slice": {
    opset: 9,
    nodes: [one("Slice", { starts: ints([1, -3]), ends: ints([9, -1]), axes: ints([1, 2]) })],
  },
  "axes of Slice left out": { opset: 7, nodes: [one("Slice", { starts: ints([1, 0]), ends: ints([2, 2]) })] },
  "bounds of Clip": { opset: 10, nodes: [one("Clip", { min: float(-0.5), max: float(0.7) })] },
  "upper bound of Clip": { opset: 8, nodes: [one("Clip", { max: float(0.1) })] },
  "pads of Pad": { opset: 10, nodes: [one("Pad", { pads: ints([0, 1, 0, 0, 0, 2]), value: float(1.5) })] },
  "reflected Pad": { opset: 9, nodes: [one("Pad", { pads: ints([0, 1, 0, 0, 1, 2]), mode: text("reflect") })] },
  "k of TopK": { opset: 9, nodes: [one("TopK", { k: int(2) }, ["x0"], ["y", "z"])], outputs: ["y", "z"] },
  "ratio of Dropout": { opset: 7, nodes: [one("Dropout", { ratio: float(0.4) })] },
  "Softmax over all axes from 1": { opset: 12, nodes: [one("Softmax", {})] },
  "Softmax over the last axis": { opset: 11, nodes: [one("Softmax", { axis: int(2) })] },
  "Softmax from a negative axis": { opset: 11, nodes: [one("Softmax", { axis: int(-2) })] },
  "LogSoftmax over all axes": { opset: 9, nodes: [one("LogSoftmax", { axis: int(0) })] },
  "Hardmax over all axes from 1": { opset: 11, nodes: [one("Hardmax", {})] },
  "Upsample by attributes": {
    opset: 7,
    inputs: [[1, 1, 2, 3]],
    nodes: [one("Upsample", { scales: floats([1, 1, 2, 3]) })],
  },
  "Upsample by an input": {
    opset: 9,
    inputs: [[1, 1, 2, 3]],
    weights: { s: tensor([1, 1, 2, 2]) },
    nodes: [one("Upsample", { mode: text("nearest") }, ["x0", "s"])],
  },
  "Upsample by lines": {
    opset: 9,
    inputs: [[1, 2, 3, 3]],
    weights: { s: tensor([1, 1, 2, 2]) },
    nodes: [one("Upsample", { mode: text("linear") }, ["x0", "s"])],
  },
  "Resize to more": {
    opset: 10,
    inputs: [[1, 1, 3, 3]],
    weights: { s: tensor([1, 1, 2.5, 1.5]) },
    nodes: [one("Resize", { mode: text("nearest") }, ["x0", "s"])],
  },
  "Resize to fewer": {
    opset: 10,
    inputs: [[1, 1, 7, 5]],
    weights: { s: tensor([1, 1, 0.6, 0.5]) },
    nodes: [one("Resize", { mode: text("nearest") }, ["x0", "s"])],
  },
  "Resize to fewer by lines": {
    opset: 10,
    inputs: [[1, 1, 6, 6]],
    weights: { s: tensor([1, 1, 0.5, 0.5]) },
    nodes: [one("Resize", { mode: text("linear") }, ["x0", "s"])],
  },
  "Resize with empty scales": {
    opset: 11,
    inputs: [[1, 1, 3, 3]],
    weights: { none: fromData<DType>("float32", new Float32Array(), [0]), to: whole([1, 1, 5, 4]) },
    nodes: [
      one("Resize", { mode: text("linear"), coordinate_transformation_mode: text("align_corners") }, [
        "x0",
        "none",
        "none",
        "to",
      ]),
    ],
  },
  "BatchNormalization of version 7": {
    opset: 7,
    inputs: [[2, 3, 2, 2]],
    weights: bnWeights([3]),
    nodes: [
      one("BatchNormalization", { epsilon: float(0.01), momentum: float(0.9), spatial: int(1) }, [
        "x0",
        "s",
        "b",
        "m",
        "v",
      ]),
    ],
  },
  "GroupNormalization by groups": {
    opset: 18,
    inputs: [[2, 4, 3, 3]],
    types: { y: { dtype: "float32", shape: [2, 4, 3, 3] } },
    weights: { s: tensor([0.5, 2]), b: tensor([1, -1]) },
    nodes: [one("GroupNormalization", { num_groups: int(2), epsilon: float(0.01) }, ["x0", "s", "b"])],
  },
  Scatter: {
    opset: 10,
    inputs: [[3, 3]],
    weights: { i: whole([0, 2, 1], [1, 3]), u: tensor([7, 8, 9], [1, 3]) },
    nodes: [one("Scatter", { axis: int(0) }, ["x0", "i", "u"])],
  },
  RoiAlign: {
    opset: 10,
    inputs: [[1, 2, 6, 6]],
    weights: { r: tensor([0, 0, 4, 4], [1, 4]), i: whole([0]) },
    nodes: [one("RoiAlign", { output_height: int(2), output_width: int(2), sampling_ratio: int(2) }, ["x0", "r", "i"])],
  },
  GridSample: {
    opset: 16,
    inputs: [
      [1, 1, 3, 3],
      [1, 2, 2, 2],
    ],
    nodes: [one("GridSample", { mode: text("bicubic") }, ["x0", "x1"])],
  },
  DFT: { opset: 17, inputs: [[1, 6, 1]], nodes: [one("DFT", { axis: int(1), onesided: int(1) })] },
};

function bnWeights(shape: readonly number[]): Record<string, Tensor> {
  const [s, b, m] = [1, 2, 3].map((seed) => sampleTensor(shape, seed));
  return { s, b, m, v: sampleTensor({ shape, low: 0.5, high: 2 }, 4) };
}

describe("a model of an old opset runs as it did", () => {
  for (const [what, old] of Object.entries(same))
    test(`${what} (opset ${old.opset})`, () => expectSame(old).then(() => {}));

  test("BatchNormalization with statistics of every element, which onnxruntime no longer runs", async () => {
    const weights = bnWeights([3, 2]);
    const x = sampleTensor([2, 3, 2], 0);
    const nodes = [one("BatchNormalization", { spatial: int(0), epsilon: float(0.25) }, ["x0", "s", "b", "m", "v"])];
    const normal = await normalizeModel(modelOf({ opset: 7, inputs: [x], weights, nodes }));
    const { y } = await runModel(await encodeOnnx(normal), { x0: feedOf(x) });
    const at = (name: string, i: number) => Number(weights[name].data[i % 6]);
    for (const [i, value] of [...(y.data as Float32Array)].entries()) {
      const expected = ((Number(x.data[i]) - at("m", i)) / Math.sqrt(at("v", i) + 0.25)) * at("s", i) + at("b", i);
      expect(value).toBeCloseTo(expected, 5);
    }
  });

  test("BatchNormalization in training keeps its running statistics", async () => {
    const nodes = [
      one(
        "BatchNormalization",
        { momentum: float(0.75) },
        ["x0", "s", "b", "m", "v"],
        ["y", "mean", "variance", "", ""],
      ),
    ];
    const old = { opset: 9, inputs: [[2, 3, 2]], weights: bnWeights([3]), nodes, outputs: ["y", "mean"] };
    const { graph } = await normalizeModel(modelOf(old));
    expect(graph.nodes[0].attributes).toMatchObject({ training_mode: int(1), momentum: float(0.75) });
    expect(graph.nodes[0].outputs).toEqual(["y", "mean", "variance"]);
  });

  test("Cast to a dtype by name", async () => {
    const { graph } = await normalizeModel(modelOf({ opset: 9, nodes: [one("Cast", { to: text("INT32") })] }));
    expect(graph.nodes[0].attributes.to).toEqual(int(6));
  });

  test("initializers of old files are no inputs, those of newer ones stay overridable", async () => {
    const weights = { w: tensor([1, 2, 3, 4]) };
    const old = { opset: 8, nodes: [one("Add", {}, ["x0", "w"])], weights };
    expect((await normalizeModel(modelOf(old))).graph.inputs.map((each) => each.name)).toEqual(["x0"]);
    const model = modelOf({ ...old, opset: 11 });
    const inputs = [...model.graph.inputs, { name: "w", dtype: "float32" as const, shape: [4] }];
    const kept = await normalizeModel({ ...model, graph: { ...model.graph, inputs } });
    expect(kept.graph.inputs.map((each) => each.name)).toEqual(["x0", "w"]);
    const imported = await importOnnx(kept);
    expect(imported.inputs.map((each) => each.name)).toEqual(["x0"]);
    const { outputs } = instantiate(imported, {
      inputs: { x0: tensor([1, 1, 1, 1], [1, 1, 4]), w: tensor([4, 3, 2, 1]) },
    });
    expect("data" in outputs.y && [...(outputs.y as Tensor).data]).toEqual([5, 4, 3, 2]);
  });

  test("bodies too: Softmax inside the branches of an If", async () => {
    const body = (axis: number, output: string): OnnxGraph => ({
      name: output,
      nodes: [onnxNode("Softmax", ["x0"], [output], { attributes: { axis: int(axis) } })],
      inputs: [],
      outputs: [{ name: output, dtype: "float32", shape: [2, 3, 4] }],
      initializers: new Map(),
      valueInfo: new Map(),
    });
    const attributes: Attributes = {
      then_branch: { type: "graph", value: body(1, "a") },
      else_branch: { type: "graph", value: body(2, "b") },
    };
    for (const flag of [1, 0]) {
      const inputs = [[2, 3, 4], tensor([flag], [], "bool")];
      await expectSame({ opset: 12, inputs, nodes: [one("If", attributes, ["x1"])] });
    }
  });

  test("newer models stay as they are", async () => {
    const model = modelOf({ opset: 23, nodes: [one("Relu", {})] });
    expect(await normalizeModel(model)).toBe(model);
  });
});

describe("local functions are inlined", () => {
  /** softmax(x, axis = the call's, default 1) + shift, of opset 12. */
  const shifted = message([
    textField(1, "Shifted"),
    textField(4, "x"),
    textField(5, "y"),
    textField(6, "axis"),
    messageField(
      7,
      message([
        textField(1, "x"),
        textField(2, "s"),
        textField(4, "Softmax"),
        messageField(5, message([textField(1, "axis"), intField(20, 2), textField(21, "axis")])),
      ]),
    ),
    messageField(7, message([textField(1, "s"), textField(1, "x"), textField(2, "y"), textField(4, "Add")])),
    messageField(9, message([textField(1, ""), intField(2, 12)])),
    textField(10, "mine"),
  ]);
  const functionOf = (name: string, { pieces }: ReturnType<typeof message>) => ({
    name,
    domain: "mine",
    bytes: new Uint8Array(Buffer.concat(pieces as Uint8Array[])),
  });
  const functions = [functionOf("Shifted", shifted)];
  const call = (inputs: string[], outputs: string[], attributes: Attributes = {}) =>
    onnxNode("Shifted", inputs, outputs, { domain: "mine", attributes });

  test("with their attributes, their own opset, and names of their own at each call", async () => {
    const nodes = [call(["x0"], ["h"]), call(["h"], ["y"], { axis: int(2) })];
    const normal = await expectSame({ opset: 12, irVersion: 8, nodes, functions, opsets: { mine: 1 } });
    expect(normal.functions).toEqual([]);
    expect(normal.graph.nodes.map((each) => each.op)).toEqual([
      "Shape",
      "Flatten",
      "Softmax",
      "Reshape",
      "Add",
      "Softmax", // over the last axis: it means the same since
      "Add",
    ]);
    const again = await readOnnx(bytesSource(await encodeOnnx(normal), "again"));
    expect(again.graph.nodes.length).toBe(7);
  });

  test("those that call themselves are refused, and those that would never end", async () => {
    const loop = message([
      textField(1, "Loop"),
      textField(4, "x"),
      textField(5, "y"),
      messageField(7, message([textField(1, "x"), textField(2, "y"), textField(4, "Loop"), textField(7, "mine")])),
    ]);
    const nodes = [onnxNode("Loop", ["x0"], ["y"], { domain: "mine" })];
    const model = modelOf({ opset: 15, nodes, functions: [functionOf("Loop", loop)], opsets: { mine: 1 } });
    await expect(normalizeModel(model)).rejects.toThrow(/calls itself/);
    // Each calls the next one ten times: 10^20 nodes.
    const tower = Array.from({ length: 20 }, (_, level) =>
      functionOf(
        `F${level}`,
        message([
          textField(1, `F${level}`),
          textField(4, "x"),
          textField(5, "y"),
          ...Array.from({ length: 10 }, (_, i) =>
            messageField(
              7,
              message([
                textField(1, i === 0 ? "x" : `h${i - 1}`),
                textField(2, i === 9 ? "y" : `h${i}`),
                textField(4, `F${level + 1}`),
                textField(7, "mine"),
              ]),
            ),
          ),
        ]),
      ),
    );
    const first = [onnxNode("F0", ["x0"], ["y"], { domain: "mine" })];
    await expect(
      normalizeModel(modelOf({ opset: 15, nodes: first, functions: tower, opsets: { mine: 1 } })),
    ).rejects.toThrow(/would make too many nodes/);
  });
});

describe("what opset 21 has no words for is refused by name", () => {
  const refused: Readonly<Record<string, [Old, RegExp]>> = {
    "an opset before 7": [{ opset: 6, nodes: [one("Relu", {})] }, /opset 6.*expected 7 to 28/],
    "an opset of the future": [{ opset: 99, nodes: [one("Relu", {})] }, /opset 99.*Export it for an older opset/],
    "Scan with a batch": [{ opset: 8, nodes: [one("Scan", {})] }, /Scan of opset 8 has a batch axis/],
    "a mask": [
      { opset: 9, nodes: [one("Dropout", {}, ["x0"], ["y", "z"])], outputs: ["y", "z"] },
      /Dropout of opset 9.*mask/,
    ],
    "saved statistics": [
      {
        opset: 9,
        weights: bnWeights([3]),
        outputs: ["y", "saved"],
        nodes: [one("BatchNormalization", {}, ["x0", "s", "b", "m", "v"], ["y", "", "", "saved"])],
      },
      /saved statistics/,
    ],
    "coordinates that are gone": [
      {
        opset: 11,
        inputs: [[1, 1, 2, 2]],
        weights: { s: tensor([1, 1, 2, 2]) },
        nodes: [one("Resize", { coordinate_transformation_mode: text("tf_half_pixel_for_nn") }, ["x0", "", "s"])],
      },
      /tf_half_pixel_for_nn/,
    ],
    "nearest elements of more and fewer": [
      {
        opset: 10,
        inputs: [[1, 1, 4, 4]],
        weights: { s: tensor([1, 1, 2, 0.5]) },
        nodes: [one("Resize", {}, ["x0", "s"])],
      },
      /makes some axes larger/,
    ],
  };
  for (const [what, [old, problem]] of Object.entries(refused)) {
    test(what, async () => {
      await expect(normalizeModel(modelOf(old))).rejects.toThrow(problem);
    });
  }

  test("unknown ops, and ops of other domains, stay as they are", async () => {
    const nodes = [
      one("Mystery", { axes: ints([1]) }),
      onnxNode("Squeeze", ["x0"], ["z"], { domain: "other", attributes: { axes: ints([0]) } }),
    ];
    const { graph } = await normalizeModel(modelOf({ opset: 9, nodes, outputs: ["y", "z"], opsets: { other: 3 } }));
    expect(graph.nodes).toEqual(nodes);
  });
});
