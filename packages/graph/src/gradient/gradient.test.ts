import { fromData, toFloat64 } from "@loomweight/tensor";
import { describe, expect, test } from "vitest";
import { assemble } from "../assemble.ts";
import { evaluateTrace } from "../evaluate/trace.ts";
import { input, node } from "../inputs.ts";
import { add, exp, log, mul, round, sigmoid } from "../ops/elementwise.ts";
import { gather } from "../ops/indexing.ts";
import { matMul } from "../ops/matmul.ts";
import { reduceMean, reduceSum } from "../ops/reduce.ts";
import type { GraphValue, Value } from "../value.ts";
import { customGradient } from "./custom.ts";
import { gradient } from "./gradient.ts";
import { stopGradient } from "./stop.ts";

const scalar = (value: number) => fromData("float64", Float64Array.of(value), []);
const vector = (...values: number[]) => fromData("float64", Float64Array.from(values), [values.length]);
const numbers = (value: Value, feeds: Parameters<typeof evaluateTrace>[1]) => [
  ...toFloat64(evaluateTrace({ value }, feeds).value),
];

describe("gradient", () => {
  const x = input("x", "float64", []);
  test("d/dx of x² is 2x, and its own derivative 2", () => {
    const slope = gradient(mul(x, x), x);
    expect(numbers(slope, { x: scalar(3) })).toEqual([6]);
    expect(numbers(gradient(slope, x), { x: scalar(3) })).toEqual([2]);
  });
  test("the fourth derivative of e^(2x) is 16 e^(2x)", () => {
    let y: Value = exp(mul(x, 2));
    for (let i = 0; i < 4; i++) y = gradient(y, x);
    expect(numbers(y, { x: scalar(0.3) })[0]).toBeCloseTo(16 * Math.exp(0.6), 10);
  });
  test("lists and records come back in their own form; what the loss does not depend on gets zeros", () => {
    const [a, b] = [input("a", "float64", [2]), input("b", "float64", [2])];
    const loss = reduceSum(mul(a, a), undefined, false);
    const found = gradient(loss, { a, b });
    const feeds = { a: vector(1, 2), b: vector(5, 5) };
    expect(Object.keys(found)).toEqual(["a", "b"]);
    expect(numbers(found.a, feeds)).toEqual([2, 4]);
    expect(numbers(found.b, feeds)).toEqual([0, 0]);
    expect(gradient(loss, [b, a])).toHaveLength(2);
  });
  test("a value inside the graph gets the gradient that reaches it from all its uses", () => {
    const y = mul(x, 3) as GraphValue;
    const loss = add(mul(y, y), y);
    expect(numbers(gradient(loss, y), { x: scalar(2) })).toEqual([13]);
    expect(gradient(loss, [x, y]).map((each) => numbers(each, { x: scalar(2) })[0])).toEqual([39, 13]);
  });
  test("several losses are summed, each with its own upstream", () => {
    const [two, three] = [mul(x, 2), mul(x, 3)];
    expect(numbers(gradient([two, three], x), { x: scalar(1) })).toEqual([5]);
    expect(numbers(gradient([two, three], x, { upstream: [scalar(10), scalar(1)] }), { x: scalar(1) })).toEqual([23]);
  });
  test("a chain of 100,000 nodes is differentiated without deep recursion", () => {
    let y: Value = x;
    for (let i = 0; i < 100_000; i++) y = add(y, x);
    expect(numbers(gradient(y, x), { x: scalar(1) })).toEqual([100_001]);
  });
  test("the gradient of a mean is a scalar times, not an array of ones", () => {
    const w = input("w", "float32", [64, 64]);
    const loss = reduceMean(mul(w, w), undefined, false);
    const model = assemble({ name: "g", inputs: [w], outputs: { dw: gradient(loss, w) } });
    expect(model.graph.nodes.map((each) => each.op)).toEqual(["Mul", "Add"]);
    expect([...model.graph.initializers.values()].every((each) => each.shape.length === 0)).toBe(true);
  });
  test("constant int32 indices scatter as int64, which is all that ScatterND takes", () => {
    const x = input("x", "float32", [3, 2]);
    const rows = fromData("int32", Int32Array.of(2, 0, 2), [3]);
    const picked = gather(x, rows);
    const dx = gradient(reduceSum(mul(picked, picked), undefined, false), x);
    const { graph } = assemble({ name: "g", inputs: [x], outputs: { dx } });
    const scatter = graph.nodes.find(({ op }) => op === "ScatterND");
    expect(graph.initializers.get(scatter?.inputs[1] ?? "")?.dtype).toBe("int64");
  });

  test("nodes of the backward pass are named after the node they belong to", () => {
    const w = input("w", "float32", [2, 2]);
    const loss = reduceSum(sigmoid(matMul(w, w)), undefined, false);
    const model = assemble({ name: "g", inputs: [w], outputs: { dw: gradient(loss, w) } });
    expect(model.graph.nodes.map((each) => each.name)).toContain("/gradient/MatMul/Gemm");
  });
});

describe("what gradients do not pass", () => {
  const x = input("x", "float64", []);
  test("stopGradient", () => {
    expect(numbers(gradient(mul(stopGradient(x), x), x), { x: scalar(3) })).toEqual([3]);
  });
  test("customGradient replaces the backward pass: a straight-through estimator", () => {
    const y = customGradient(
      [x],
      (each) => round(each),
      (dy) => [dy],
    );
    expect(numbers(mul(y, y), { x: scalar(2.7) })).toEqual([9]);
    expect(numbers(gradient(mul(y, y), x), { x: scalar(2.7) })).toEqual([6]);
  });
  test("an op without a rule is refused by name, with the path from the loss", () => {
    const strange = node("Strange", [x], { domain: "some.where", outputs: [{ dtype: "float64", shape: [] }] })[0];
    expect(() => gradient(log(mul(strange, 2)), x)).toThrow(
      /"\/Strange".*some\.where\.Strange cannot be differentiated.*\/Log ← \/Mul ← \/Strange/,
    );
    const rule = { "some.where": { Strange: (call: { upstream: readonly (Value | undefined)[] }) => call.upstream } };
    expect(numbers(gradient(mul(strange, 2), x, { tables: rule }), { x: scalar(1) })).toEqual([2]);
  });
  test("a loss that is no float scalar, and a value that is no graph value, are refused", () => {
    const v = input("v", "float64", [3]);
    expect(() => gradient(mul(v, 2), v)).toThrow(/a loss has one element.*\[3\]/);
    expect(() => gradient(input("n", "int64", []), v)).toThrow(/only floats/);
    expect(() => gradient(mul(x, x), scalar(1))).toThrow(/a constant/);
    expect(() => gradient(mul(v, v), v, { upstream: scalar(1) })).toThrow(/another type than the loss/);
  });
});
