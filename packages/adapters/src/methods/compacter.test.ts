import { matMul, type Value } from "@loomweight/graph";
import { singularValues } from "@loomweight/linalg";
import { fromData, type Tensor } from "@loomweight/tensor";
import { expect, test } from "vitest";
import { blockContract, largest, testSite } from "../../test/block-contract.ts";
import { numbers } from "../../test/contract.ts";
import { numbersOf } from "../../test/method-replay.ts";
import type { Params } from "../define.ts";
import { countBlockParameters } from "../define-block.ts";
import { phmWeight } from "../maths/phm.ts";
import { type CompacterOptions, compacter, expandCompacter, projection } from "./compacter.ts";
import { vlAdapter } from "./vl-adapter.ts";

const plain: CompacterOptions = {
  reductionFactor: 2,
  parts: 2,
  form: "factored",
  rank: 1,
  rule: "model",
  factoredRule: false,
  ruleInit: "normal",
  ruleDeviation: 0.1,
  activation: "geluTanh",
  tasks: 1,
  sharing: "single",
  normBefore: false,
  normAfter: false,
  init: "zero",
};
const place = { in: 8, out: 8 };
const second = fromData("int64", BigInt64Array.of(1n), []);
blockContract(compacter, [
  { what: "factored, one rule", ...place, options: plain },
  { what: "whole, own rules", ...place, options: { ...plain, form: "full", rule: "own", ruleInit: "uniform" } },
  {
    what: "rank 2, factored own rules, norms",
    ...place,
    options: { ...plain, rank: 2, rule: "own", factoredRule: true, normBefore: true, normAfter: true },
  },
  {
    what: "two tasks, a rule for both",
    ...place,
    options: { ...plain, form: "full", tasks: 2, sharing: "multiple", rule: "tasks" },
    inputs: { task: second },
  },
  { what: "low rank", ...place, options: { ...plain, form: "lowRank" } },
]);

const vector = (values: number[], shape: number[]) => fromData("float64", Float64Array.from(values), shape);
const rule = vector([1, 0, 0, 1, 0, -1, 1, 0], [2, 2, 2]);
const example: Params = {
  rule,
  downLeft: vector([0.5, -1, 2, 0.25], [2, 2, 1]),
  downRight: vector([1, 0.5], [2, 1, 1]),
  downBias: vector([0.1, -0.1], [2]),
  upLeft: vector([1, 1], [2, 1, 1]),
  upRight: vector([1, -1, 0.25, 0.1], [2, 1, 2]),
  upBias: vector([0, 0.1, 0, -0.1], [4]),
};

test("worked example", () => {
  expect(numbersOf(projection("down", example, plain) as Tensor)).toEqual([0.5, -1, -1, -0.125, 1, 0.5, 0.125, -1]);
  expect(numbersOf(projection("up", example, plain) as Tensor)).toEqual([1, -1, -0.25, -0.1, 0.25, 0.1, 1, -1]);
  const x = vector([1, -1, 0.5, 0.25], [1, 4]);
  const y = compacter.apply({ path: "m", index: 0, in: 4, out: 4, input: x, output: x }, example, plain) as Tensor;
  [3.05602, -3.0123, -0.18486, 0.101182].forEach((value, i) => {
    expect(Math.abs(numbersOf(y)[i] - value)).toBeLessThan(1e-5);
  });
});

test("one part with C = 1 is a plain product; complex numbers are n = 2", () => {
  const w = numbers("w", [1, 5, 3]);
  const plainProduct = phmWeight(vector([1], [1, 1, 1]), w) as Tensor;
  expect([plainProduct.shape, numbersOf(plainProduct)]).toEqual([[5, 3], numbersOf(w)]);
  // x = (re, im), (re + i im)(a + i b) = (re a − im b) + i (re b + im a), with C₂ᵀ's sign convention of the rule.
  const [a, b, re, im] = [0.3, -0.7, 1.1, 0.4];
  const h = phmWeight(rule, vector([a, b], [2, 1, 1])) as Tensor;
  const y = numbersOf(matMul(vector([re, im], [1, 2]), h) as Tensor);
  expect(y[0]).toBeCloseTo(re * a + im * b, 12);
  expect(y[1]).toBeCloseTo(im * a - re * b, 12); // product with the conjugate, (re + i im)(a − i b)
});

test("expanded it is the plain adapter", () => {
  const site = testSite({ path: "m", index: 0, in: 8, out: 8 }, 5);
  const shapes = { ...compacter.params(site, plain), ...compacter.shared?.([site], plain) };
  const own = Object.fromEntries(
    Object.entries(shapes).map(([name, shape]) => [name, numbers(name, shape as number[])]),
  );
  const params = compacter.generate?.(site, { own: own as never, shared: { rule: own.rule } }, {}, plain) as Params;
  const { rule: _rule, ...rest } = own;
  const chosen = compacter.generate?.(site, { own: rest as never, shared: { rule: own.rule } }, {}, plain) as Params;
  expect(Object.keys(params).length).toBeGreaterThan(0);
  const expanded = expandCompacter(chosen, plain) as unknown as Params;
  const adapter = {
    reductionFactor: 2,
    activation: "geluTanh",
    tasks: 1,
    sharing: "single",
    normBefore: false,
    normAfter: false,
    init: "mam",
  } as const;
  expect(
    largest(compacter.apply(site, chosen, plain) as Tensor, vlAdapter.apply(site, expanded, adapter) as Tensor),
  ).toBeLessThan(1e-12);
});

test("rank of H is at most the sum of rank(C) · rank(W)", () => {
  const ranks = (c: Value, w: { left: Value; right: Value }) =>
    numbersOf(singularValues(phmWeight(c, w) as Tensor)).filter((value) => value > 1e-10).length;
  const w = { left: numbers("l", [2, 4, 1]), right: numbers("r", [2, 1, 4]) };
  expect(ranks(numbers("c", [2, 2, 2]), w)).toBe(4);
  const one = matMul(numbers("cl", [2, 2, 1]), numbers("cr", [2, 1, 2]));
  expect(ranks(one, w)).toBe(2);
});

test("counts of the card: width 768, bottleneck 96", () => {
  const site = { path: "m", index: 0, in: 768, out: 768 };
  const count = (given: Partial<CompacterOptions>, sites = [site]) =>
    countBlockParameters(compacter, sites, { ...plain, reductionFactor: 8, ...given });
  expect(count({ form: "full", rule: "own" })).toBe(73_728 + 864 + 2 * 8);
  expect(count({ parts: 4 })).toBe(1_728 + 864 + 64);
  expect(count({ parts: 4 }, [site, { ...site, index: 1 }])).toBe(2 * (1_728 + 864) + 64);
});

test("parts that do not divide are named", () => {
  expect(() => compacter.params({ path: "m", index: 0, in: 9, out: 9 }, plain)).toThrow(
    /divisor of the width 9 and of the bottleneck 4/,
  );
});
