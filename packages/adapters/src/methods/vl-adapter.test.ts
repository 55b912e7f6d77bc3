import { evaluateTrace, gather, gradient, input, type Value } from "@loomweight/graph";
import { fromData, type Tensor } from "@loomweight/tensor";
import { expect, test } from "vitest";
import { blockContract, largest, testSite } from "../../test/block-contract.ts";
import { numbers } from "../../test/contract.ts";
import { numbersOf } from "../../test/method-replay.ts";
import type { Params } from "../define.ts";
import { countBlockParameters } from "../define-block.ts";
import { taskSchedule, taskShares } from "../maths/tasks.ts";
import { adapterRandom } from "../random/adapter-random.ts";
import { type VlAdapterOptions, vlAdapter } from "./vl-adapter.ts";

const plain: VlAdapterOptions = {
  reductionFactor: 2,
  activation: "geluTanh",
  tasks: 1,
  sharing: "single",
  normBefore: false,
  normAfter: false,
  init: "mam",
};
const task = (number: number): Tensor => fromData("int64", BigInt64Array.of(BigInt(number)), []);
const place = { in: 6, out: 6 };
blockContract(vlAdapter, [
  { what: "one task", ...place, options: plain },
  {
    what: "three tasks, nothing shared",
    ...place,
    options: { ...plain, tasks: 3, sharing: "multiple" },
    inputs: { task: task(1) },
  },
  {
    what: "three tasks, down shared, norms",
    ...place,
    options: { ...plain, tasks: 3, sharing: "half-down", normBefore: true, normAfter: true },
    inputs: { task: task(2) },
  },
  {
    what: "three tasks, up shared, ReLU",
    ...place,
    options: { ...plain, tasks: 3, sharing: "half-up", activation: "relu" },
    inputs: { task: task(0) },
  },
]);
blockContract(
  vlAdapter,
  (["bert", "houlsby", "torch"] as const).map((init) => ({ what: init, ...place, options: { ...plain, init } })),
  { "a fresh adapter leaves the output as it is": "as published it starts near the base only" },
);

const vector = (values: number[], shape = [values.length]) => fromData("float64", Float64Array.from(values), shape);

test("worked example", () => {
  const x = vector([1, -2, 0.5], [1, 3]);
  const params = {
    down: vector([0.5, -0.25, 1, -1, 0.5, 0.2], [2, 3]),
    downBias: vector([0.1, -0.1]),
    up: vector([0.2, -0.1, 0, 0.3, 0.1, 0.1], [3, 2]),
    upBias: vector([0, 0.01, -0.02]),
  };
  const y = vlAdapter.apply({ path: "m", index: 0, in: 3, out: 3, input: x, output: x }, params, plain) as Tensor;
  [1.30697, -2.00362, 0.626673].forEach((value, i) => {
    expect(Math.abs(numbersOf(y)[i] - value)).toBeLessThan(5e-6);
  });
});

const site = testSite({ path: "m", index: 0, in: 6, out: 6 }, 4);
const drawn = (options: VlAdapterOptions): Params =>
  Object.fromEntries(
    Object.entries(vlAdapter.params(site, options)).map(([name, shape]) => [name, numbers(name, shape as number[])]),
  );
const run = (own: Params, options: VlAdapterOptions, number: number) =>
  vlAdapter.apply(
    site,
    vlAdapter.generate?.(site, { own: own as never, shared: {} }, { task: task(number) }, options) as Params,
    options,
  ) as Tensor;

test("single: one answer for every task; multiple with equal tensors is single", () => {
  const single = { ...plain, tasks: 3 };
  const own = drawn(single);
  expect(numbersOf(run(own, single, 2))).toEqual(numbersOf(run(own, single, 0)));
  expect(vlAdapter.inputs?.(single)).toEqual({});
  const multiple: VlAdapterOptions = { ...single, sharing: "multiple" };
  const same = Object.fromEntries(
    Object.entries<Value>(own).map(([name, value]) => [name, gather(value, [0, 0, 0], 0)]),
  );
  for (const number of [0, 1, 2]) expect(largest(run(same, multiple, number), run(own, single, 0))).toBe(0);
  expect(vlAdapter.inputs?.(multiple)).toEqual({ task: { dtype: "int64", shape: [] } });
});

test("a shared tensor's gradient is the sum over the tasks; private ones of other tasks get none", () => {
  const options: VlAdapterOptions = { ...plain, tasks: 2, sharing: "half-down" };
  const feeds = drawn(options) as Record<string, Tensor>;
  const values = Object.fromEntries(
    Object.entries(feeds).map(([name, { shape }]) => [name, input(name, "float64", shape)]),
  );
  const dy = numbers("dy", [4, 6]);
  const slopes = (tasks: number[]) => {
    const outputs = tasks.map((number) =>
      vlAdapter.apply(
        site,
        vlAdapter.generate?.(site, { own: values as never, shared: {} }, { task: task(number) }, options) as Params,
        options,
      ),
    );
    return evaluateTrace<string>(gradient(outputs, values, { upstream: outputs.map(() => dy) }), feeds);
  };
  const [both, first, second] = [slopes([0, 1]), slopes([0]), slopes([1])];
  numbersOf(both.down).forEach((value, i) => {
    expect(value).toBeCloseTo(numbersOf(first.down)[i] + numbersOf(second.down)[i], 12);
  });
  expect(
    numbersOf(second.up)
      .slice(0, 18)
      .every((value) => value === 0),
  ).toBe(true);
  expect(
    numbersOf(second.up)
      .slice(18)
      .some((value) => value !== 0),
  ).toBe(true);
});

test("counts of the card: BART-base, 30 positions", () => {
  const sites = Array.from({ length: 30 }, (_, index) => ({ path: `layers.${index}.ffn`, index, in: 768, out: 768 }));
  const count = (given: Partial<VlAdapterOptions>) =>
    countBlockParameters(vlAdapter, sites, { ...plain, reductionFactor: 8, tasks: 4, ...given });
  expect(count({}) / 30).toBe(148_320);
  expect(
    [count({}), count({ sharing: "multiple" }), count({ sharing: "half-down" })].map((n) => Math.round(n / 1e4) / 100),
  ).toEqual([4.45, 17.8, 11.15]);
});

test("houlsby's draws are cut at 0.02", () => {
  const made = vlAdapter.init(
    { path: "m", index: 0, in: 64, out: 64 },
    { ...plain, init: "houlsby" },
    { random: adapterRandom(1, "m") },
  );
  const values = numbersOf(made.down);
  expect(Math.max(...values.map(Math.abs))).toBeLessThanOrEqual(0.02);
  expect(Math.max(...values)).toBeGreaterThan(0.0195);
});

test("tasks in training: one a batch, in proportion, balanced or by temperature", () => {
  const sizes = { vqa: 300, gqa: 100, cap: 20 };
  const times = (list: string[]) => ["vqa", "gqa", "cap"].map((name) => list.filter((each) => each === name).length);
  expect(times(taskSchedule(sizes, { mode: "proportional", batchSize: 20, seed: 1 }))).toEqual([15, 5, 1]);
  expect(times(taskSchedule(sizes, { mode: "balanced", batchSize: 20, seed: 1 }))).toEqual([7, 7, 7]);
  const order = taskSchedule(sizes, { mode: "proportional", batchSize: 20, seed: 1 });
  expect(taskSchedule(sizes, { mode: "proportional", batchSize: 20, seed: 1 })).toEqual(order);
  expect(taskSchedule(sizes, { mode: "proportional", batchSize: 20, seed: 1 }, 1)).not.toEqual(order);
  expect(taskShares([300, 100, 20], 1)[0]).toBeCloseTo(300 / 420, 12);
  expect(taskShares([300, 100, 20], 1e9)[2]).toBeCloseTo(1 / 3, 6);
  const [large, , small] = times(
    taskSchedule({ vqa: 30_000, gqa: 10_000, cap: 2_000 }, { mode: { temperature: 10 }, batchSize: 20, seed: 1 }),
  );
  expect(large / small).toBeCloseTo(15 ** 0.1, 0);
  expect(() => taskShares([1], 0)).toThrow(/above 0/);
});
