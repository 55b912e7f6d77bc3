import { mul } from "@loomweight/graph";
import { fromData, type Tensor } from "@loomweight/tensor";
import { expect, test } from "vitest";
import { blockContract, largest, testSite } from "../../test/block-contract.ts";
import { numbers } from "../../test/contract.ts";
import { numbersOf } from "../../test/method-replay.ts";
import type { Params } from "../define.ts";
import { countBlockParameters } from "../define-block.ts";
import { activate } from "../maths/bottleneck.ts";
import { generateAdapter, type HyperformerOptions, hyperformer } from "./hyperformer.ts";
import { vlAdapter } from "./vl-adapter.ts";

const plain: HyperformerOptions = {
  reductionFactor: 2,
  tasks: 3,
  layers: 2,
  embedding: 5,
  hidden: 7,
  projected: 4,
  efficient: false,
  activation: "geluTanh",
  normBefore: false,
  normAfter: false,
  zeroUp: true,
};
const task = (number: number): Tensor => fromData("int64", BigInt64Array.of(BigInt(number)), []);
const place = { in: 6, out: 6, inputs: { task: task(1) } };
blockContract(hyperformer, [
  { what: "a generator a position", ...place, options: plain },
  { what: "one for all positions", ...place, options: { ...plain, efficient: true }, position: "selfAttention" },
]);
blockContract(
  hyperformer,
  [
    { what: "generated norms", ...place, options: { ...plain, normBefore: true, normAfter: true } },
    { what: "as published", ...place, options: { ...plain, zeroUp: false } },
  ],
  { "a fresh adapter leaves the output as it is": "a norm behind the adapter, or generators of up that are not zero" },
);

const row = (values: number[], shape = [values.length]) => fromData("float64", Float64Array.from(values), shape);

test("worked example", () => {
  const shared: Params = {
    taskEmbeddings: row([1, -1], [1, 2]),
    layerEmbeddings: row([0.5, 2], [1, 2]),
    mixWeight: row([0.1, 0.2, 0, 0.3, 0.5, 0, -0.1, 0, 0, 0, 1, -1], [3, 4]),
    mixBias: row([0, 0.1, 0]),
    projectWeight: row([1, 0.5, 0, 0, 2, 1, -1, 1, 0.5], [3, 3]),
    projectBias: row([0, 0, 0]),
    normWeight: row([1, 1, 1]),
    normBias: row([0, 0, 0]),
  };
  const [g, k] = [
    row([0.1, 0.2, 0, 0.3, -0.1, 0.1, 0, 0.5, -0.2, -0.2, 0.1, 0.4], [4, 3]),
    row([0.1, 0, 0, 0, 0.1, 0], [2, 3]),
  ];
  for (const side of ["down", "up"]) {
    Object.assign(shared, {
      [`feedForward.${side}.weight`]: g,
      [`feedForward.${side}.weightBias`]: row([0, 0, 0, 0]),
      [`feedForward.${side}Bias.weight`]: k,
      [`feedForward.${side}Bias.weightBias`]: row([0, 0]),
    });
  }
  const given = { ...plain, reductionFactor: 1, tasks: 1, layers: 1, embedding: 2, hidden: 3, projected: 3 };
  const made = generateAdapter({ path: "layers.0.ffn", index: 0, in: 2, out: 2 }, shared, 0, given) as Record<
    string,
    Tensor
  >;
  const near = (found: readonly number[], expected: readonly number[]) =>
    expected.forEach((value, i) => {
      expect(Math.abs(found[i] - value)).toBeLessThan(2e-5);
    });
  near(numbersOf(made.down), [0.23923, -0.148095, 0.791738, -0.495548]);
  near(numbersOf(made.downBias), [0.0303785, 0.104426]);
  const [w, b] = [numbersOf(made.down), numbersOf(made.downBias)];
  const z = row([w[0] + 2 * w[1] + b[0], w[2] + 2 * w[3] + b[1]]);
  near(numbersOf(z), [-0.0265811, -0.0949327]);
  near(numbersOf(activate(z, "geluTanh") as Tensor), [-0.0130087, -0.0438764]);
});

const site = testSite({ path: "encoder.layers.1.ffn", index: 3, in: 6, out: 6 }, 4);
const drawn = (given: HyperformerOptions): Params =>
  Object.fromEntries(
    Object.entries(hyperformer.shared?.([site], given) ?? {}).map(([name, shape]) => [name, numbers(name, shape, 0.6)]),
  );

test("generated for a task it is a plain adapter; equal embeddings give equal adapters", () => {
  const shared = drawn(plain);
  const made = generateAdapter(site, shared, task(2), plain);
  const adapter = {
    reductionFactor: 2,
    activation: "geluTanh",
    tasks: 1,
    sharing: "single",
    normBefore: false,
    normAfter: false,
    init: "mam",
  } as const;
  expect(numbersOf(hyperformer.apply(site, made, plain) as Tensor)).toEqual(
    numbersOf(vlAdapter.apply(site, made, adapter) as Tensor),
  );
  const other = generateAdapter(site, shared, 0, plain);
  expect(largest(made.down as Tensor, other.down as Tensor)).toBeGreaterThan(1e-3);
  const same = { ...shared, taskEmbeddings: mul(shared.taskEmbeddings, 0) };
  expect(
    largest(generateAdapter(site, same, 0, plain).down as Tensor, generateAdapter(site, same, 2, plain).down as Tensor),
  ).toBe(0);
});

test("generators with biases only give one adapter for all tasks and layers", () => {
  const shared = Object.fromEntries(
    Object.entries(drawn(plain)).map(([name, value]) => [
      name,
      /^feedForward\..*\.weight$/.test(name) ? mul(value, 0) : value,
    ]),
  );
  const first = generateAdapter(site, shared, 0, plain);
  const last = generateAdapter({ ...site, path: "encoder.layers.0.ffn" }, shared, 2, plain);
  for (const name of ["down", "downBias", "up", "upBias"])
    expect(largest(first[name] as Tensor, last[name] as Tensor)).toBe(0);
});

test("the generators are the bulk, and do not grow with sites or tasks but for the embeddings", () => {
  const sites = (count: number) =>
    Array.from({ length: count }, (_, index) => ({ path: `layers.${index}.ffn`, index, in: 6, out: 6 }));
  const count = (tasks: number, layers: number) =>
    countBlockParameters(hyperformer, sites(layers), { ...plain, tasks, layers });
  expect(count(4, 2) - count(3, 2)).toBe(5);
  expect(count(3, 9) - count(3, 2)).toBe(7 * 5);
  const [r, d, p] = [3, 6, 4];
  expect(count(3, 2)).toBe(3 * 5 + 2 * 5 + (7 * 10 + 7) + (4 * 7 + 4) + 2 * 4 + (2 * r * d + r + d) * (p + 1));
});

test("sites that do not fit are named", () => {
  expect(() => hyperformer.shared?.([site, { ...site, out: 8, in: 8 }], plain)).toThrow(/one width/);
  expect(() => generateAdapter({ ...site, path: "layers.7.ffn" }, drawn(plain), 0, plain)).toThrow(/more than 7/);
  expect(() => hyperformer.params({ ...site, in: 4 }, plain)).toThrow(/as wide/);
});
