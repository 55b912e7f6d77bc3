import { fromData } from "@loomweight/tensor";
import { expect, test } from "vitest";
import {
  add,
  assemble,
  concat,
  encodeOnnx,
  gather,
  input,
  inputsOf,
  lazyTensor,
  matMul,
  mul,
  named,
  node,
  parameter,
  relu,
  reshape,
  shapeOf,
  sub,
  transpose,
  type Value,
} from "./index.ts";

const floats = (values: number[], shape: number[]) => fromData("float32", Float32Array.from(values), shape);
const x = input("x", "float32", ["batch", "length", 6]);

test("names come from the scopes, unique by number", () => {
  const y = named("layers.0", () => {
    const first = named("mlp", () => relu(add(x, 1)));
    return named("mlp", () => relu(mul(first, 2)));
  });
  const { graph } = assemble({ name: "g", inputs: [x], outputs: { y } });
  expect(graph.nodes.map((each) => each.name)).toEqual([
    "/layers.0/mlp/Add",
    "/layers.0/mlp/Relu",
    "/layers.0/mlp/Mul",
    "/layers.0/mlp/Relu_1",
  ]);
  expect(graph.nodes[3].outputs).toEqual(["y"]);
  expect(graph.valueInfo.get("/layers.0/mlp/Add/output_0")).toEqual({
    name: "/layers.0/mlp/Add/output_0",
    dtype: "float32",
    shape: ["batch", "length", 6],
  });
});

test("a scope is left when building throws, and refuses to be async", () => {
  expect(() =>
    named("a", () => {
      throw new Error("stop");
    }),
  ).toThrow("stop");
  expect(() => named("b", async () => 1)).toThrow(/must not be async/);
  const y = relu(x);
  expect(assemble({ name: "g", inputs: [x], outputs: { y } }).graph.nodes[0].name).toBe("/Relu");
});

test("equal computations and equal constants stand once", () => {
  const y = add(mul(x, floats([1, 2, 3, 4, 5, 6], [6])), mul(x, floats([1, 2, 3, 4, 5, 6], [6])));
  const { graph } = assemble({ name: "g", inputs: [x], outputs: { y } });
  expect(graph.nodes.map((each) => each.op)).toEqual(["Mul", "Add"]);
  expect(graph.nodes[1].inputs[0]).toBe(graph.nodes[1].inputs[1]);
  expect(graph.initializers.size).toBe(1);
});

test("-0 and 0 are different constants", () => {
  const y = add(add(x, floats([0], [1])), floats([-0], [1]));
  expect([...assemble({ name: "g", inputs: [x], outputs: { y } }).graph.initializers.keys()]).toEqual([
    "/constants/float32/[0]",
    "/constants/float32/[-0]",
  ]);
});

test("one weight of one name stands once, different ones of one name are told apart", () => {
  const origin = { tensors: ["w"] };
  const weight = () => parameter("w", lazyTensor(floats([1, 2, 3, 4, 5, 6], [6]), origin));
  const turned = parameter(
    "w",
    lazyTensor(floats([1, 2, 3, 4, 5, 6], [6]), { tensors: ["w"], transform: "transpose" }),
  );
  const y = add(add(mul(x, weight()), mul(x, weight())), turned);
  expect([...assemble({ name: "g", inputs: [x], outputs: { y } }).graph.initializers.keys()]).toEqual(["w", "w_1"]);
});

test("inputs, weights, constants and repeated values can be outputs", async () => {
  const y = relu(x);
  const { graph } = assemble({ name: "g", inputs: [x], outputs: { y, again: y, same: x, one: floats([1], [1]) } });
  expect(graph.nodes.map(({ op, inputs, outputs }) => [op, ...inputs, ...outputs])).toEqual([
    ["Relu", "x", "y"],
    ["Identity", "y", "again"],
    ["Identity", "x", "same"],
    ["Identity", "/constants/float32/[1]", "one"],
  ]);
});

test("shape arithmetic follows symbols and folds what is known", () => {
  const batch = gather(shapeOf(x), 0);
  const heads = reshape(x, [batch, -1, 2, 3]);
  expect(heads.shape).toEqual(["batch", "length", 2, 3]);
  const past = input("past", "float32", ["batch", "past", 2, 3]);
  const all = concat([past, heads], 1);
  expect(all.shape).toEqual(["batch", "length + past", 2, 3]);
  expect(transpose(all, [0, 2, 1, 3]).shape).toEqual(["batch", 2, "length + past", 3]);
  expect(reshape(all, [0, 0, -1]).shape).toEqual(["batch", "length + past", 6]);
  // Known sizes are constants at once.
  expect(shapeOf(x, { start: 2 })).toMatchObject({ dtype: "int64", data: BigInt64Array.of(6n) });
  expect(sub(gather(shapeOf(x), 2), 2)).toMatchObject({ data: BigInt64Array.of(4n) });
});

test("tensors are computed at once", () => {
  const product = matMul(floats([1, 2, 3, 4], [2, 2]), floats([1, 0, 0, 1], [2, 2]));
  expect([...(product.data as Float32Array)]).toEqual([1, 2, 3, 4]);
  expect([...(add(product, 1).data as Float32Array)]).toEqual([2, 3, 4, 5]);
});

test("an input that is not declared, or a name used twice, is an error by name", () => {
  const y = relu(x);
  expect(() => assemble({ name: "g", inputs: [], outputs: { y } })).toThrow(/need the input "x"/);
  expect(() => assemble({ name: "g", inputs: [x, x], outputs: { y } })).toThrow(/"x" names two/);
  expect(() => assemble({ name: "g", inputs: [x], outputs: { x: y } })).toThrow(/"x" names two/);
  expect(() => assemble({ name: "g", inputs: [y as never], outputs: { y } })).toThrow(/listed as an input/);
  expect(inputsOf([y])).toEqual([x]);
});

test("operands that do not go together name op, shapes and node", () => {
  expect(() => named("block", () => add(floats([1, 2], [2]), floats([1, 2, 3], [3])))).toThrow(
    /Add: shapes \[2\] and \[3\]/,
  );
  expect(() => named("block", () => matMul(x, input("w", "float32", [5, 4])))).toThrow(
    /node "\/block\/MatMul".*6 columns/,
  );
  expect(() => add(x, input("i", "int64", [6]))).toThrow(/expected float32, found int64/);
  expect(() => add(input("i", "int64", [6]), 0.5)).toThrow(/int64 cannot hold 0.5/);
});

const chain = (length: number) => {
  let y: Value = x;
  for (let i = 0; i < length; i++) y = add(y, i % 7);
  return assemble({ name: "deep", inputs: [x], outputs: { y }, metadata: { made: "here" } });
};

test("the same trace gives the same bytes", async () => {
  const [first, second] = await Promise.all([encodeOnnx(chain(50)), encodeOnnx(chain(50))]);
  expect(Buffer.compare(first, second)).toBe(0);
});

test("deep graphs do not overflow the stack", { timeout: 120_000 }, () => {
  expect(chain(15_000).graph.nodes.length).toBe(15_000);
});

test("the general form makes any node, and its domain is imported", () => {
  const [y] = node("Whatever", [x, undefined, x], {
    domain: "com.example",
    outputs: [{ dtype: "float16", shape: ["n"] }],
  });
  const model = assemble({ name: "g", inputs: [x], outputs: { y } });
  expect(model.opsets).toEqual({ "": 21, "com.example": 1 });
  expect(model.graph.nodes[0].inputs).toEqual(["x", "", "x"]);
});
