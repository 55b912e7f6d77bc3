import { readFileSync } from "node:fs";
import { createRandom, fromData, normal, type Tensor, toFloat64 } from "@loomweight/tensor";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  type GraphValue,
  gradient,
  input,
  lazyTensor,
  mul,
  parameter,
  type Runtime,
  reduceSum,
  type Value,
} from "../../src/index.ts";
import * as nn from "../../src/nn/index.ts";
import { createRuntime } from "../../src/node/index.ts";
import { createRandomInputs, drawInputs } from "../../src/training/index.ts";

interface Plain {
  readonly shape: number[];
  readonly data: number[];
}
interface Case {
  readonly name: string;
  readonly options: Record<string, unknown>;
  readonly parameters: Record<string, Plain>;
  readonly buffers: Record<string, Plain>;
  readonly inputs: Record<string, Plain>;
  readonly output: Plain;
  readonly dy: Plain;
  readonly gradients: Record<string, Plain>;
  readonly after: Record<string, Plain>;
}
const recorded = JSON.parse(readFileSync(new URL("./nn.json", import.meta.url), "utf8")) as {
  torch: string;
  cases: Case[];
};

let runtime: Runtime;
beforeAll(async () => {
  runtime = await createRuntime({ threads: 1 });
});
afterAll(() => runtime.close());

const isInteger = (name: string) => name === "ids" || name === "targets";
const asTensor = ({ shape, data }: Plain, integer = false): Tensor =>
  integer ? fromData("int32", Int32Array.from(data), shape) : fromData("float32", Float32Array.from(data), shape);

/** Every layer and loss by the name the recorder gave it. */
const uses: Record<
  string,
  (p: nn.Parameters, b: nn.Parameters, x: Value[], options: never) => { output: Value; updates?: Record<string, Value> }
> = {
  linear: (p, _, [x]) => ({ output: nn.linear(p, "", x) }),
  embedding: (p, _, [ids]) => ({ output: nn.embedding(p, "", ids) }),
  convolution: (p, _, [x], options) => ({ output: nn.convolution(p, "", x, options) }),
  layerNorm: (p, _, [x]) => ({ output: nn.layerNorm(p, "", x) }),
  rmsNorm: (p, _, [x]) => ({ output: nn.rmsNorm(p, "", x) }),
  groupNorm: (p, _, [x], options) => ({ output: nn.groupNorm(p, "", x, options) }),
  batchNorm: (p, b, [x], options) => nn.batchNorm(p, b, "", x, options),
  multiheadAttention: (p, _, [x], options) => ({ output: nn.multiheadAttention(p, "", x, options) }),
  attention: (p, _, [x], options) => ({ output: nn.attention(p, "", x, options) }),
  lstm: (p, _, [x]) => ({ output: nn.lstm(p, "", x) }),
  gru: (p, _, [x]) => ({ output: nn.gru(p, "", x) }),
  mlp: (p, _, [x]) => ({ output: nn.mlp(p, "", x) }),
  gatedMlp: (p, _, [x]) => ({ output: nn.gatedMlp(p, "", x) }),
  crossEntropy: (_p, _, [x, t], options) => ({ output: nn.crossEntropy(x, t, options) }),
  meanSquaredError: (_p, _, [x, t]) => ({ output: nn.meanSquaredError(x, t) }),
  meanAbsoluteError: (_p, _, [x, t]) => ({ output: nn.meanAbsoluteError(x, t) }),
  huber: (_p, _, [x, t]) => ({ output: nn.huber(x, t) }),
  binaryCrossEntropy: (_p, _, [x, t]) => ({ output: nn.binaryCrossEntropy(x, t) }),
};

function expectNear(found: Tensor, expected: Plain, what: string): void {
  expect(found.shape, what).toEqual(expected.shape);
  const scale = Math.max(1, ...expected.data.map(Math.abs));
  const worst = toFloat64(found).reduce((most, value, i) => Math.max(most, Math.abs(value - expected.data[i])), 0);
  expect(worst / scale, what).toBeLessThan(2e-5);
}

describe("as recorded from PyTorch", () => {
  for (const [index, each] of recorded.cases.entries()) {
    test(`${each.name} ${JSON.stringify(each.options)} (${index})`, async () => {
      const values = (plain: Record<string, Plain>) =>
        Object.fromEntries(
          Object.entries(plain).map(([name, tensor]) => [name, parameter(name, lazyTensor(asTensor(tensor)))]),
        );
      const parameters = values(each.parameters);
      const integers = (name: string) => isInteger(name) && each.name !== "binaryCrossEntropy";
      const inputs = Object.fromEntries(
        Object.entries(each.inputs).map(([name, { shape }]) => [
          name,
          input(name, integers(name) ? "int32" : "float32", shape),
        ]),
      );
      const { output, updates = {} } = uses[each.name](
        parameters,
        values(each.buffers),
        Object.values(inputs),
        each.options as never,
      );
      const wanted: Record<string, GraphValue> = {};
      for (const name of Object.keys(each.gradients)) wanted[name] = parameters[name] ?? inputs[name];
      const loss = reduceSum(mul(output, asTensor(each.dy)), undefined, false);
      const gradients = gradient(loss, wanted);
      const feeds = Object.fromEntries(
        Object.entries(each.inputs).map(([name, tensor]) => [name, asTensor(tensor, integers(name))]),
      );
      const results = await runtime.evaluate(
        {
          output,
          ...Object.fromEntries(Object.entries(gradients).map(([name, value]) => [`d/${name}`, value])),
          ...Object.fromEntries(Object.entries(updates).map(([name, value]) => [`after/${name}`, value])),
        },
        feeds,
      );
      expectNear(results.output, each.output, "output");
      for (const [name, expected] of Object.entries(each.gradients)) expectNear(results[`d/${name}`], expected, name);
      for (const [name, expected] of Object.entries(each.after)) {
        expectNear(results[`after/${name}`] ?? asTensor(each.buffers[name]), expected, name);
      }
    });
  }
  test("every layer and loss is recorded", () => {
    expect(new Set(recorded.cases.map((each) => each.name))).toEqual(new Set(Object.keys(uses)));
  });
});

test.each([1, 3, 5])("linearCrossEntropy in %i parts is crossEntropy of the product", async (parts) => {
  const [x, weight] = [input("x", "float32", [5, 4]), input("w", "float32", [7, 4])];
  const targets = input("t", "int32", [5]);
  const losses = {
    whole: nn.crossEntropy(nn.linearOf(x, weight), targets),
    parts: nn.linearCrossEntropy(x, weight, targets, { parts }),
  };
  const outputs = Object.fromEntries(
    Object.entries(losses).flatMap(([name, loss]) => {
      const { dx, dw } = gradient(mul(loss, 3), { dx: x as GraphValue, dw: weight });
      return Object.entries({ loss, dx, dw }).map(([key, value]) => [`${name} ${key}`, value]);
    }),
  );
  const random = createRandom(3, "parts");
  const results = await runtime.evaluate(outputs, {
    x: normal([5, 4], random.child("x")),
    w: normal([7, 4], random.child("w")),
    t: fromData("int32", Int32Array.of(0, 6, -100, 3, 3), [5]),
  });
  for (const key of ["loss", "dx", "dw"]) {
    const [whole, part] = [toFloat64(results[`whole ${key}`]), toFloat64(results[`parts ${key}`])];
    expect(part.length).toBe(whole.length);
    for (const [i, value] of whole.entries()) expect(part[i]).toBeCloseTo(value, 5);
  }
});

test("first weights have PyTorch's names, shapes and ranges, and depend on seed and name alone", () => {
  const random = createRandom(1, "weights");
  const layer = nn.initLinear(random, "fc", { inputs: 100, outputs: 50 });
  expect(Object.entries(layer).map(([name, { shape }]) => [name, shape])).toEqual([
    ["fc.weight", [50, 100]],
    ["fc.bias", [50]],
  ]);
  const values = toFloat64(layer["fc.weight"]);
  expect(Math.max(...values)).toBeLessThanOrEqual(0.1);
  expect(values.reduce((sum, each) => sum + each * each, 0) / values.length).toBeCloseTo(0.01 / 3, 4);
  expect(nn.initLinear(random, "fc", { inputs: 100, outputs: 50 })).toEqual(layer);
  const kernel = nn.initConvolution(random, "conv", { inputs: 4, outputs: 8, kernel: [3, 3], groups: 2 });
  expect(kernel["conv.weight"].shape).toEqual([8, 2, 3, 3]);
  const cells = nn.initRecurrent(random, "rnn", { kind: "lstm", inputs: 3, hidden: 5, layers: 2 });
  expect(Object.entries(cells).map(([name, { shape }]) => `${name} ${shape}`)).toEqual([
    "rnn.weight_ih_l0 20,3",
    "rnn.weight_hh_l0 20,5",
    "rnn.bias_ih_l0 20",
    "rnn.bias_hh_l0 20",
    "rnn.weight_ih_l1 20,5",
    "rnn.weight_hh_l1 20,5",
    "rnn.bias_ih_l1 20",
    "rnn.bias_hh_l1 20",
  ]);
  expect(toFloat64(nn.initEmbedding(random, "e", { count: 3, size: 2 })["e.weight"]).length).toBe(6);
  expect(Object.keys(nn.initNorm("n", { size: 2 }))).toEqual(["n.weight", "n.bias"]);
  expect(Object.keys(nn.initRunningStatistics("n", { size: 2 }))).toEqual(["n.running_mean", "n.running_var"]);
});

test("dropout is an input drawn from seed, step and name; without it x passes", async () => {
  const x = input("x", "float32", [50, 40]);
  const { inputs, declared } = createRandomInputs();
  const dropped = nn.dropout(x, 0.25, inputs, "hidden");
  expect(nn.dropout(x, 0.25, undefined, "hidden")).toBe(x);
  const ones = fromData("float32", new Float32Array(2000).fill(1), [50, 40]);
  const masks = drawInputs(declared, 3, 1);
  expect(drawInputs(declared, 3, 1)).toEqual(masks);
  expect(drawInputs(declared, 3, 2)).not.toEqual(masks);
  const { y } = await runtime.evaluate({ y: dropped }, { x: ones, ...masks });
  const values = toFloat64(y);
  expect(values.every((each) => each === 0 || Math.abs(each - 4 / 3) < 1e-6)).toBe(true);
  expect(values.filter((each) => each === 0).length / 2000).toBeCloseTo(0.25, 1);
  expect(() => nn.dropout(x, 1, inputs, "hidden")).toThrow(/0 <= rate < 1/);
});

test("a missing parameter and heads that do not fit are named", () => {
  const x = input("x", "float32", [2, 4]);
  expect(() => nn.linear({ "fc1.weight": x }, "fc2", x)).toThrow(/unknown parameter "fc2.weight".*fc1.weight/);
  const sequence = input("s", "float32", [1, 2, 6]);
  const weights = Object.fromEntries(
    ["q", "k", "v", "o"].map((name) => [`${name}_proj.weight`, input(name, "float32", [6, 6])]),
  );
  expect(() => nn.attention(weights, "", sequence, { heads: 4 })).toThrow(/heads do not fit/);
  expect(() => nn.attention(weights, "", sequence, { heads: 3, keyValueHeads: 2 })).toThrow(/keyValueHeads/);
  const symbolic = input("t", "float32", ["batch", 2, 6]);
  expect(() => nn.attention(weights, "", symbolic, { heads: 3 })).toThrow(/sizes as numbers/);
});
