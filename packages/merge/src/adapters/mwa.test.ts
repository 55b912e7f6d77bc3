import { fromFloat64, type Tensor, tensor, toFloat64 } from "@loomweight/tensor";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { metricWeights } from "../metric-weights.ts";
import { averageAdapters } from "./average-adapters.ts";
import { lowRankSum } from "./low-rank-sum.ts";
import { metricsWeightedAverage } from "./mwa.ts";
import { lossAtStep, readTrainerState } from "./trainer-state.ts";

const losses = [0.9, 0.6, 0.5];
const steps = [100, 200, 300];
const expectNear = (found: ArrayLike<number>, expected: readonly number[], digits = 6) => {
  expect(found.length).toBe(expected.length);
  for (const [i, value] of expected.entries()) expect(found[i]).toBeCloseTo(value, digits);
};
const bytes = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));

describe("weights of the worked example", () => {
  const table: [number, number[], number[]][] = [
    [0, [1 / 3, 1 / 3, 1 / 3], [1 / 3, 1 / 3, 1 / 3]],
    [1, [0.232558, 0.348837, 0.418605], [0.166667, 0.333333, 0.5]],
    [2, [0.154083, 0.346687, 0.49923], [0.0714286, 0.285714, 0.642857]],
    [5, [0.0363776, 0.276243, 0.68738], [0.00362319, 0.115942, 0.880435]],
  ];
  for (const [penalty, ofLosses, ofSteps] of table) {
    test(`penalty ${penalty}`, () => {
      expectNear(metricWeights(losses, { penalty }), ofLosses);
      expectNear(metricWeights(steps, { penalty, metric: "step" }), ofSteps);
    });
  }
  test("offset", () => {
    expectNear(metricWeights(losses, { form: "offset" }), [0.178571, 0.357143, 0.464286]);
    expectNear(metricWeights(losses, { form: "offset", rho: 0.9 }), [0.0625, 0.375, 0.5625]);
  });
});

const a = [tensor([[1, 0]]), tensor([[1.2, 0.2]]), tensor([[1.4, 0.1]])];
const b = [tensor([[1], [2]]), tensor([[1.1], [2.2]]), tensor([[1], [2.5]])];

test("factors and updates of the worked example", async () => {
  const checkpoints = losses.map((value, i) => ({
    value,
    tensors: new Map([
      ["A", a[i]],
      ["B", b[i]],
    ]),
  }));
  const { tensors, weights } = await metricsWeightedAverage(checkpoints, { penalty: 2 });
  expectNear(toFloat64(tensors.get("A") as Tensor), [1.26903, 0.11926], 5);
  expectNear(toFloat64(tensors.get("B") as Tensor), [1.03467, 2.31895], 5);
  const sum = lowRankSum(
    a.map((each, i) => ({ a: each, b: b[i], scaling: 1 })),
    weights,
  );
  expect([sum.a.shape, sum.b.shape]).toEqual([
    [3, 2],
    [2, 3],
  ]);
  const [x, y] = [toFloat64(sum.b), toFloat64(sum.a)];
  const product = [0, 1].flatMap((row) =>
    [0, 1].map((column) => [0, 1, 2].reduce((s, k) => s + x[row * 3 + k] * y[k * 2 + column], 0)),
  );
  expectNear(product, [1.31063, 0.126194, 2.97072, 0.27735], 5);
});

describe("laws", () => {
  const metrics = fc.array(fc.double({ min: 1e-3, max: 1e3, noNaN: true }), { minLength: 1, maxLength: 8 });
  test("weights are positive, of sum 1, ordered as the utilities, whatever the metric's unit", () => {
    fc.assert(
      fc.property(metrics, fc.double({ min: 0, max: 6, noNaN: true }), (values, penalty) => {
        for (const form of ["power", "offset"] as const) {
          const weights = metricWeights(values, { penalty, form });
          expect(weights.reduce((x, y) => x + y)).toBeCloseTo(1, 12);
          expect(weights.every((w) => w > 0)).toBe(true);
          for (const [i, value] of values.entries()) {
            for (const [j, other] of values.entries())
              if (value < other) expect(weights[i]).toBeGreaterThanOrEqual(weights[j]);
          }
          expectNear(
            metricWeights(
              values.map((v) => 7 * v),
              { penalty, form },
            ),
            [...weights],
            9,
          );
        }
      }),
      { seed: 1 },
    );
  });
  test("penalty 0 and equal metrics give the plain mean; a large penalty the best one, without overflow", () => {
    expectNear(metricWeights([3, 1, 2], { penalty: 0 }), [1 / 3, 1 / 3, 1 / 3]);
    expectNear(metricWeights([2, 2], { penalty: 9 }), [0.5, 0.5]);
    expectNear(metricWeights([1e-6, 3, 1e6], { penalty: 200 }), [1, 0, 0]);
  });
  test("one checkpoint comes back bit for bit, equal ones give themselves", async () => {
    const only = new Map([["A", a[1]]]);
    expect((await averageAdapters([only], [1])).get("A")).toBe(a[1]);
    const { tensors } = await metricsWeightedAverage(losses.map((value) => ({ value, tensors: only })));
    expectNear(toFloat64(tensors.get("A") as Tensor), [...toFloat64(a[1])], 7);
  });
  test("order does not matter, and every entry lies between the least and the largest", async () => {
    const random = (i: number) =>
      fromFloat64(
        Float64Array.from({ length: 6 }, (_, k) => Math.sin(9 * i + k)),
        [6],
      );
    const checkpoints = losses.map((value, i) => ({ value, tensors: new Map([["x", random(i)]]) }));
    const forth = toFloat64((await metricsWeightedAverage(checkpoints)).tensors.get("x") as Tensor);
    const back = toFloat64((await metricsWeightedAverage([...checkpoints].reverse())).tensors.get("x") as Tensor);
    expectNear(back, [...forth], 12);
    for (let k = 0; k < 6; k++) {
      const entries = checkpoints.map(({ tensors }) => toFloat64(tensors.get("x") as Tensor)[k]);
      expect(forth[k]).toBeGreaterThanOrEqual(Math.min(...entries));
      expect(forth[k]).toBeLessThanOrEqual(Math.max(...entries));
    }
  });
  test("what averaging the factors leaves out is their covariance", () => {
    const w = metricWeights(losses);
    const mean = (list: readonly Tensor[]) =>
      list.reduce((sum, t, i) => sum.map((v, k) => v + w[i] * toFloat64(t)[k]), new Float64Array(2));
    const [meanA, meanB] = [mean(a), mean(b)];
    const sum = lowRankSum(
      a.map((each, i) => ({ a: each, b: b[i], scaling: 1 })),
      w,
    );
    const [x, y] = [toFloat64(sum.b), toFloat64(sum.a)];
    for (const [row, column] of [
      [0, 0],
      [0, 1],
      [1, 0],
      [1, 1],
    ]) {
      const exact = [0, 1, 2].reduce((s, k) => s + x[row * 3 + k] * y[k * 2 + column], 0);
      const covariance = a.reduce(
        (s, _, i) => s + w[i] * (toFloat64(b[i])[row] - meanB[row]) * (toFloat64(a[i])[column] - meanA[column]),
        0,
      );
      expect(exact - meanB[row] * meanA[column]).toBeCloseTo(covariance, 12);
    }
  });
});

describe("a trainer's state", () => {
  const state = {
    global_step: 20,
    log_history: [
      { step: 10, loss: 2 },
      { step: 20, loss: 1.5 },
      { step: 20, eval_loss: 9 },
    ],
  };
  test("gives step and the loss of the window that ends there", () => {
    const read = readTrainerState(bytes(state));
    expect(read.step).toBe(20);
    expect(lossAtStep(read, 20)).toBe(1.5);
    expect(lossAtStep(read, 19)).toBe(2);
    expect(() => lossAtStep(read, 5)).toThrow(expect.objectContaining({ code: "MISSING_METRIC" }));
  });
  test("is refused where it is something else", () => {
    for (const bad of [{}, { global_step: -1, log_history: [] }, { global_step: 3, log_history: "none" }]) {
      expect(() => readTrainerState(bytes(bad))).toThrow(expect.objectContaining({ code: "INVALID_FILE" }));
    }
  });
});

describe("bad input", () => {
  const refused: [string, () => unknown, string][] = [
    ["no checkpoints", () => metricWeights([]), "INVALID_METRIC"],
    ["a loss of 0", () => metricWeights([1, 0]), "INVALID_METRIC"],
    ["a loss that is not a number", () => metricWeights([1, Number.NaN], { form: "softmax" }), "INVALID_METRIC"],
    ["a negative penalty", () => metricWeights([1], { penalty: -1 }), "INVALID_OPTION"],
    ["an offset of 1", () => metricWeights([1], { form: "offset", rho: 1 }), "INVALID_OPTION"],
  ];
  for (const [what, run, code] of refused) test(what, () => expect(run).toThrow(expect.objectContaining({ code })));
  test("adapters of different runs", async () => {
    const first = new Map([["A", a[0]]]);
    const others = [
      new Map([["B", a[0]]]),
      new Map([["A", tensor([1, 2, 3])]]),
      new Map([
        ["A", a[0]],
        ["B", b[0]],
      ]),
    ];
    for (const other of others) {
      await expect(averageAdapters([first, other], [0.5, 0.5])).rejects.toMatchObject({ code: "ADAPTER_MISMATCH" });
    }
    await expect(averageAdapters([first], [0.5, 0.5])).rejects.toMatchObject({ code: "ADAPTER_MISMATCH" });
    const codes = new Map([["A", tensor([1, 2], [2], "int8")]]);
    await expect(averageAdapters([codes], [1])).rejects.toMatchObject({ code: "UNSUPPORTED_DTYPE" });
  });
});
