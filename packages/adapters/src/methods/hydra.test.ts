import {
  add,
  concat,
  conv,
  evaluateTrace,
  gradient,
  input,
  matMul,
  mul,
  reshape,
  transpose,
  type Value,
} from "@loomweight/graph";
import { singularValues } from "@loomweight/linalg";
import { fromData, type Tensor } from "@loomweight/tensor";
import { expect, test } from "vitest";
import { largest } from "../../test/block-contract.ts";
import { adapterContract, layerValues, numbers } from "../../test/contract.ts";
import { numbersOf } from "../../test/method-replay.ts";
import { paramShape } from "../define.ts";
import { layerOf } from "../layer.ts";
import {
  type HydraOptions,
  type HydraParams,
  hydra,
  hydraFromPublished,
  hydraToLora,
  mergeHydra,
  unmergeHydra,
} from "./hydra.ts";

const plain: HydraOptions = {
  parallelRank: 2,
  sequentialRank: 3,
  scale: 1,
  learnableScale: false,
  branchBias: true,
  init: "xavier",
  dropout: 0,
};
adapterContract(hydra, [
  { what: "linear [6, 4]", kind: "linear", storedShape: [6, 4], options: plain },
  {
    what: "scale 0.3, no biases",
    kind: "linear",
    storedShape: [5, 7],
    options: { ...plain, scale: 0.3, branchBias: false },
  },
  {
    what: "trained scales, normal",
    kind: "linear",
    storedShape: [5, 7],
    options: { ...plain, learnableScale: true, init: "normal" },
  },
  {
    what: "sequential only, Kaiming",
    kind: "linear",
    storedShape: [5, 7],
    options: { ...plain, parallelRank: 0, init: "kaiming" },
  },
  { what: "parallel only", kind: "linear", storedShape: [5, 7], options: { ...plain, sequentialRank: 0 } },
  { what: "GPT-2's Conv1D [4, 9]", kind: "transposedLinear", storedShape: [4, 9], options: plain },
  { what: "convolution [6, 3, 3, 2]", kind: "convolution", storedShape: [6, 3, 3, 2], options: plain },
]);

const matrix = (rows: number[][]) => fromData("float64", Float64Array.from(rows.flat()), [rows.length, rows[0].length]);
const vector = (values: number[]) => fromData("float64", Float64Array.from(values), [values.length]);
const base = {
  weight: matrix([
    [1, 2],
    [0, -1],
  ]),
  bias: vector([0.5, -0.5]),
};
const bare: HydraParams<Tensor> = {
  parDown: matrix([[1, -1]]),
  parUp: matrix([[0.2], [0.1]]),
  seqDown: matrix([[0.5, 1]]),
  seqUp: matrix([[0.4], [-0.2]]),
};
const biased: HydraParams<Tensor> = {
  ...bare,
  parDownBias: vector([0.1]),
  parUpBias: vector([0.01, 0.02]),
  seqDownBias: vector([-0.2]),
  seqUpBias: vector([0.03, -0.04]),
};
const one: HydraOptions = { ...plain, parallelRank: 1, sequentialRank: 1 };
const close = (found: Value | undefined, expected: number[]) => {
  numbersOf(found as Tensor).forEach((value, i) => {
    expect(value).toBeCloseTo(expected[i], 12);
  });
};

test("worked example with branch biases, s = 0.5", () => {
  const layer = layerValues(layerOf("linear", [2, 2]), base.weight, base.bias);
  close(hydra.apply(layer, biased as never, matrix([[3, 1]]), { ...one, scale: 0.5 }), [5.94, -1.51]);
  const merged = mergeHydra(base, biased, { ...one, scale: 0.5 });
  close(merged.weight, [1.2, 1.9, 0, -1.05]);
  close(merged.bias, [0.44, -0.46]);
});

test("worked example without branch biases, s = 1: the base's bias still changes", () => {
  const merged = mergeHydra(base, bare, { ...one, branchBias: false });
  close(merged.weight, [1.4, 1.8, 0, -1.1]);
  close(merged.bias, [0.4, -0.45]);
  expect(mergeHydra({ weight: base.weight }, bare, { ...one, branchBias: false })).not.toHaveProperty("bias");
  close(mergeHydra({ weight: base.weight }, biased, one).bias, [
    0.2 * 0.1 + 0.01 - 0.08 + 0.03,
    0.1 * 0.1 + 0.02 + 0.04 - 0.04,
  ]);
});

const drawn = (shape: [number, number], options: HydraOptions) => {
  const layer = layerOf("linear", shape);
  const shapes = Object.entries(hydra.params(layer, options)) as [string, Parameters<typeof paramShape>[0]][];
  const params = Object.fromEntries(shapes.map(([name, dims]) => [name, numbers(name, paramShape(dims, layer), 0.7)]));
  return { weight: numbers("weight", shape), bias: numbers("bias", [shape[0]]), params: params as HydraParams<Tensor> };
};

test("unmerging gives weight and bias back; a singular sequential branch is refused", () => {
  const options = { ...plain, scale: 0.4 };
  const { weight, bias, params } = drawn([7, 5], options);
  const back = unmergeHydra(mergeHydra({ weight, bias }, params, options), params, options);
  expect(largest(back.weight, weight)).toBeLessThan(1e-12);
  expect(largest(back.bias as Tensor, bias)).toBeLessThan(1e-12);
  // 1 + s · A_s B_s = 0
  const singular = { seqDown: matrix([[1, 0]]), seqUp: matrix([[-1], [0]]) };
  expect(() => unmergeHydra({ weight: base.weight }, singular, { ...one, parallelRank: 0, branchBias: false })).toThrow(
    /singular/i,
  );
});

test("as a LoRA of rank r_p + r_s it is the same layer", () => {
  const options = { ...plain, scale: 0.4 };
  const { weight, bias, params } = drawn([7, 5], options);
  const merged = mergeHydra({ weight, bias }, params, options);
  const { A, B, biasDelta } = hydraToLora({ weight, bias }, params, options);
  expect([A.shape, B.shape]).toEqual([
    [5, 5],
    [7, 5],
  ]);
  expect(largest(add(weight, matMul(B, A)) as Tensor, merged.weight)).toBeLessThan(1e-12);
  expect(largest(add(bias, biasDelta as Tensor) as Tensor, merged.bias as Tensor)).toBeLessThan(1e-12);
});

test("ranks: the change has rank r_p + r_s, a sequential branch stays in its span and cannot see what W ignores", () => {
  const options = { ...plain, branchBias: false, parallelRank: 0, sequentialRank: 2 };
  const { params } = drawn([6, 5], options);
  const weight = matMul(numbers("l", [6, 3]), numbers("r", [3, 5])) as Tensor; // W of rank 3
  const change = add(mergeHydra({ weight }, params, options).weight, mul(weight, -1)) as Tensor;
  const singular = numbersOf(singularValues(change));
  expect(singular[1]).toBeGreaterThan(1e-3);
  expect(singular[2]).toBeLessThan(1e-12);
  /** Rank of the rows of both together. */
  const spans = (a: Tensor, b: Tensor) =>
    numbersOf(singularValues(concat([a, b], 0))).filter((value) => value > 1e-10).length;
  const [turnedChange, turnedUp] = [transpose(change, [1, 0]), transpose(params.seqUp as Tensor, [1, 0])] as Tensor[];
  expect(spans(turnedUp, turnedChange)).toBe(2); // columns of the change lie in those of seqUp
  expect(spans(weight, change)).toBe(3); // its rows in the row space of W
  const mixed = { ...plain, branchBias: false };
  const whole = drawn([9, 8], mixed);
  const update = add(mergeHydra({ weight: whole.weight }, whole.params, mixed).weight, mul(whole.weight, -1)) as Tensor;
  expect(numbersOf(singularValues(update)).filter((value) => value > 1e-10)).toHaveLength(5);
});

test("zero sequential up is LoRA, zero parallel up is the sequential adapter, a tiny scale is the base", () => {
  const options = { ...plain, branchBias: false, scale: 0.5 };
  const { weight, params } = drawn([6, 5], options);
  const zero = (tensor: Tensor | undefined) => mul(tensor as Tensor, 0) as Tensor;
  const lora = mergeHydra({ weight }, { ...params, seqUp: zero(params.seqUp) }, options).weight;
  expect(
    largest(lora, add(weight, mul(matMul(params.parUp as Tensor, params.parDown as Tensor), 0.5)) as Tensor),
  ).toBeLessThan(1e-14);
  const sequential = mergeHydra({ weight }, { ...params, parUp: zero(params.parUp) }, options).weight;
  const product = matMul(matMul(params.seqUp as Tensor, params.seqDown as Tensor), weight);
  expect(largest(sequential, add(weight, mul(product, 0.5)) as Tensor)).toBeLessThan(1e-12);
  expect(largest(mergeHydra({ weight }, params, { ...options, scale: 1e-30 }).weight, weight)).toBeLessThan(1e-15);
});

test("counts: one parallel rank of an MLP's second linear costs five widths, a sequential one two", () => {
  const count = (shape: [number, number], options: Partial<HydraOptions>) => {
    const layer = layerOf("linear", shape);
    const shapes = Object.values(hydra.params(layer, { ...plain, ...options })) as Parameters<typeof paramShape>[0][];
    return shapes.reduce((sum, dims) => sum + paramShape(dims, layer).reduce((a, b) => a * b, 1), 0);
  };
  expect(count([768, 3072], { parallelRank: 1, sequentialRank: 0, branchBias: false })).toBe(5 * 768);
  expect(count([768, 3072], { parallelRank: 0, sequentialRank: 1, branchBias: false })).toBe(2 * 768);
  const two = { parallelRank: 2, sequentialRank: 2 };
  expect(12 * (count([768, 3072], two) + count([768, 768], two))).toBe(239_712); // VTAB, both places
  expect(12 * count([768, 3072], two)).toBe(147_504); // ELEVATER
  expect(12 * count([768, 3072], { parallelRank: 4, sequentialRank: 8, branchBias: false })).toBe(331_776); // GLUE
});

test("gradients of all eight tensors and both scales are those of central differences", () => {
  const options = { ...plain, learnableScale: true };
  const { weight, bias, params } = drawn([4, 3], options);
  const layer = layerValues(layerOf("linear", [4, 3]), weight, bias);
  const feeds = { ...params, x: numbers("x", [5, 3]) } as Record<string, Tensor>;
  const values = Object.fromEntries(
    Object.entries(feeds).map(([name, { shape }]) => [name, input(name, "float64", shape)]),
  );
  const y = hydra.apply(layer, values as never, values.x, options);
  const dy = numbers("dy", [5, 4]);
  const slopes = evaluateTrace<string>(gradient(y, values, { upstream: dy }), feeds);
  expect(Object.keys(slopes)).toHaveLength(11);
  const loss = (changed: Record<string, Tensor>) =>
    numbersOf(mul(evaluateTrace({ y }, changed).y, dy) as Tensor).reduce((a, b) => a + b, 0);
  for (const [name, tensor] of Object.entries(feeds)) {
    numbersOf(tensor).forEach((_value, i) => {
      const moved = (by: number) => {
        const data = Float64Array.from(numbersOf(tensor));
        data[i] += by;
        return loss({ ...feeds, [name]: fromData("float64", data, tensor.shape) });
      };
      expect(numbersOf(slopes[name])[i]).toBeCloseTo((moved(1e-6) - moved(-1e-6)) / 2e-6, 6);
    });
  }
});

test("ranks that do not fit are named", () => {
  const params = (options: Partial<HydraOptions>) => () =>
    hydra.params(layerOf("linear", [6, 4]), { ...plain, ...options });
  expect(params({ parallelRank: 0, sequentialRank: 0 })).toThrow(/above 0 for one/);
  expect(params({ parallelRank: 5 })).toThrow(/at most 4/);
  expect(params({ sequentialRank: 7 })).toThrow(/at most 6/);
});

test("names of the three published layouts lead to the layer they are of", () => {
  const tensor = vector([0]);
  const found = hydraFromPublished(
    new Map([
      ["blocks.3.mlp.hydra_mlp_par.down_proj.weight", tensor],
      ["blocks.3.attn.hydra_proj_seq.up_proj.bias", tensor],
      ["visual.transformer.resblocks.1.mlp.ad_lin.adapter_seq.scale", tensor],
      ["roberta.encoder.layer.2.output.hydra_par.hydra_B.weight", tensor],
      ["head.weight", tensor],
    ]),
  );
  expect([...found].map(([path, params]) => [path, ...Object.keys(params)])).toEqual([
    ["blocks.3.mlp.fc2", "parDown"],
    ["blocks.3.attn.proj", "seqUpBias"],
    ["visual.transformer.resblocks.1.mlp.c_proj", "seqScale"],
    ["roberta.encoder.layer.2.output.dense", "parUp"],
  ]);
});

test("a convolution with both branches is the convolution with the merged weight", () => {
  const shape = layerOf("convolution", [6, 3, 3, 2]);
  const options = { ...plain, scale: 0.4 };
  const shapes = Object.entries(hydra.params(shape, options)) as [string, Parameters<typeof paramShape>[0]][];
  const params = Object.fromEntries(shapes.map(([name, dims]) => [name, numbers(name, paramShape(dims, shape), 0.7)]));
  const [stored, bias, x] = [numbers("weight", [6, 3, 3, 2]), numbers("bias", [6]), numbers("x", [2, 3, 5, 5])];
  const weight = reshape(stored, [6, 18]);
  const layer = {
    ...shape,
    weight,
    base: weight,
    bias,
    storedWeight: stored,
    forward: (from: Value) => conv(from, stored, bias),
    operation: (from: Value, own: Value) => conv(from, own),
    perOutput: (each: Value) => reshape(each, [1, 6, 1, 1]),
  };
  const merged = mergeHydra({ weight, bias }, params, options);
  const folded = conv(x, reshape(merged.weight, [6, 3, 3, 2]), merged.bias) as Tensor;
  expect(largest(hydra.apply(layer, params as never, x, options) as Tensor, folded)).toBeLessThan(1e-12);
});
