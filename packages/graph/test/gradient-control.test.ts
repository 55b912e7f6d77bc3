import { fromData, type Tensor, toFloat64 } from "@loomweight/tensor";
import { expect, test } from "vitest";
import { evaluateTrace } from "../src/evaluate/trace.ts";
import { gradient } from "../src/gradient/gradient.ts";
import { valuesOf } from "../src/import/instantiate.ts";
import { input } from "../src/inputs.ts";
import type { OnnxGraph, OnnxModel } from "../src/model.ts";
import { int64Vector } from "../src/op.ts";
import { mul } from "../src/ops/elementwise.ts";
import { reduceSum } from "../src/ops/reduce.ts";
import { initializer, onnxNode } from "../src/rewrite.ts";
import type { Value } from "../src/value.ts";
import { runNatively } from "./gradient-cases.ts";

const body = (
  name: string,
  nodes: OnnxGraph["nodes"],
  initializers: OnnxGraph["initializers"] = new Map(),
): OnnxGraph => ({
  name,
  nodes,
  inputs: [],
  outputs: [{ name: `${name}_y`, dtype: "float32", shape: [3] }],
  initializers,
  valueInfo: new Map(),
});

/** c ? x · w + w : tanh(x), with x and w from around the branches. */
function conditional(): OnnxModel {
  const then = body("then", [onnxNode("Mul", ["x", "w"], ["then_p"]), onnxNode("Add", ["then_p", "w"], ["then_y"])]);
  const otherwise = body(
    "else",
    [onnxNode("Tanh", ["x"], ["else_t"]), onnxNode("Mul", ["else_t", "two"], ["else_y"])],
    new Map([["two", initializer("two", fromData("float32", Float32Array.of(2), [1]))]]),
  );
  return {
    irVersion: 10,
    producer: { name: "test", version: "" },
    opsets: { "": 21 },
    functions: [],
    metadata: {},
    graph: {
      name: "conditional",
      nodes: [
        onnxNode("If", ["c"], ["y"], {
          attributes: { then_branch: { type: "graph", value: then }, else_branch: { type: "graph", value: otherwise } },
        }),
      ],
      inputs: [
        { name: "c", dtype: "bool", shape: [] },
        { name: "x", dtype: "float32", shape: [3] },
        { name: "w", dtype: "float32", shape: [3] },
      ],
      outputs: [{ name: "y", dtype: "float32", shape: [3] }],
      initializers: new Map(),
      valueInfo: new Map(),
    },
  };
}

const floats = (...values: number[]) => fromData("float32", Float32Array.from(values), [values.length]);
const at = (c: number): Record<string, Tensor> => ({
  c: fromData("bool", Uint8Array.of(c), []),
  x: floats(1, -2, 0.5),
  w: floats(3, 0.25, -1),
});

async function build() {
  const inputs = {
    c: input("c", "bool", []),
    x: input("x", "float32", [3]),
    w: input("w", "float32", [3]),
  };
  const { outputs } = await valuesOf(conditional(), { inputs });
  const loss = reduceSum(mul(outputs.y, outputs.y), undefined, false);
  const { x: dx, w: dw } = gradient(loss, { x: inputs.x, w: inputs.w });
  return { inputs: Object.values(inputs), results: { loss, dx, dw } as Record<string, Value> };
}

/** dL of L = Σ y² by hand. */
function expected(c: number): Record<string, number[]> {
  const [x, w] = [at(c).x, at(c).w].map((each) => [...(each.data as Float32Array)]);
  if (c === 1) {
    const y = x.map((value, i) => value * w[i] + w[i]);
    return { dx: y.map((value, i) => 2 * value * w[i]), dw: y.map((value, i) => 2 * value * (x[i] + 1)) };
  }
  return { dx: x.map((value) => 8 * Math.tanh(value) * (1 - Math.tanh(value) ** 2)), dw: [0, 0, 0] };
}

test("an If is differentiated branch by branch: the branch that is taken gives the gradient", async () => {
  const built = await build();
  for (const c of [0, 1]) {
    const native = await runNatively({ ...built, feeds: at(c) }, 21);
    for (const [name, values] of Object.entries(expected(c))) {
      for (const [i, value] of values.entries()) expect(native[name].values[i]).toBeCloseTo(value, 5);
    }
  }
});

test("the plain engine takes the branch its condition names", async () => {
  const built = await build();
  const model = evaluateTrace({ dx: built.results.dx }, { ...at(1), two: floats(2), two_1: floats(2) });
  for (const [i, value] of expected(1).dx.entries()) expect(toFloat64(model.dx)[i]).toBeCloseTo(value, 5);
});

test("a Loop on the way is refused by name", async () => {
  const loop = onnxNode("Loop", ["n", "", "x"], ["y"], {
    attributes: {
      body: {
        type: "graph",
        value: {
          ...body("loop", [onnxNode("Identity", ["go"], ["stop"]), onnxNode("Tanh", ["state"], ["next"])]),
          inputs: [
            { name: "i", dtype: "int64", shape: [] },
            { name: "go", dtype: "bool", shape: [] },
            { name: "state", dtype: "float32", shape: [3] },
          ],
          outputs: [
            { name: "stop", dtype: "bool", shape: [] },
            { name: "next", dtype: "float32", shape: [3] },
          ],
        },
      },
    },
  });
  const model = conditional();
  const graph: OnnxGraph = {
    ...model.graph,
    nodes: [loop],
    inputs: [{ name: "x", dtype: "float32", shape: [3] }],
    initializers: new Map([["n", initializer("n", { ...int64Vector([2]), shape: [], stride: [] })]]),
  };
  const { inputs, outputs } = await valuesOf({ ...model, graph });
  const loss = reduceSum(outputs.y, undefined, false);
  expect(() => gradient(loss, inputs.x)).toThrow(/Loop cannot be differentiated: loops are not/);
});
