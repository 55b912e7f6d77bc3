import { evaluateTrace, gradient, input } from "@loomweight/graph";
import { fromData, type Tensor } from "@loomweight/tensor";
import { expect, test } from "vitest";
import { blockContract, largest, testSite } from "../../test/block-contract.ts";
import { numbers } from "../../test/contract.ts";
import { numbersOf } from "../../test/method-replay.ts";
import { countBlockParameters } from "../define-block.ts";
import { bottleneck, foldIntoUp, isIdle, padBottleneck } from "../maths/bottleneck.ts";
import { adapterRandom } from "../random/adapter-random.ts";
import { elbow, rankSweep, shiftSpectrum } from "../rank-budget.ts";
import { type AdapterTuneOptions, adapterTune, everySite } from "./adaptertune.ts";

const plain: AdapterTuneOptions = { rank: 3, alpha: 1, init: "zero" };
blockContract(adapterTune, [
  { what: "rank 3", in: 7, out: 7, options: plain },
  { what: "rank above the width, alpha -0.5", in: 5, out: 5, options: { ...plain, rank: 8, alpha: -0.5 } },
]);
blockContract(adapterTune, [{ what: "small", in: 6, out: 6, options: { ...plain, init: "small" } }], {
  "a fresh adapter leaves the output as it is": "small starts near the base, not at it: tested below",
});

const tensor = (values: number[], shape = [values.length]) => fromData("float64", Float64Array.from(values), shape);
const example = {
  down: tensor([0.5, -0.25, 1, -1, 0.5, 0.2], [2, 3]),
  downBias: tensor([0.1, -0.1]),
  up: tensor([0.2, -0.1, 0, 0.3, 0.1, 0.1], [3, 2]),
  upBias: tensor([0, 0.01, -0.02]),
};
const siteOf = (x: Tensor) => ({ path: "blocks.0", index: 0, in: x.shape[1], out: x.shape[1], input: x, output: x });

test.each([
  [1, [1.30701, -2.00365, 0.626682]],
  [0.5, [1.15351, -2.00183, 0.563341]],
])("worked example with alpha %d; the tanh form of GELU would differ", (alpha, expected) => {
  const y = adapterTune.apply(siteOf(tensor([1, -2, 0.5], [1, 3])), example, { ...plain, rank: 2, alpha }) as Tensor;
  numbersOf(y).forEach((value, i) => {
    expect(Math.abs(value - expected[i])).toBeLessThan(6e-6);
  });
});

test("worked example at zero: only up and its bias get a gradient, and x gets what arrives", () => {
  const x = tensor([1, -2, 0.5], [1, 3]);
  const names = ["x", "down", "downBias", "up", "upBias"] as const;
  const feeds = { ...example, up: tensor([0, 0, 0, 0, 0, 0], [3, 2]), upBias: tensor([0, 0, 0]), x };
  const values = Object.fromEntries(names.map((name) => [name, input(name, "float64", feeds[name].shape)]));
  const y = adapterTune.apply({ ...siteOf(x), output: values.x }, values, { ...plain, rank: 2 });
  const slopes = evaluateTrace<string>(gradient(y, values, { upstream: tensor([1, 0, -1], [1, 3]) }), feeds);
  [1.51232, -0.0455003, 0, 0, -1.51232, 0.0455003].forEach((value, i) => {
    expect(Math.abs(numbersOf(slopes.up)[i] - value)).toBeLessThan(5e-6);
  });
  expect(numbersOf(slopes.upBias)).toEqual([1, 0, -1]);
  expect(numbersOf(slopes.down).map(Math.abs)).toEqual([0, 0, 0, 0, 0, 0]);
  expect(numbersOf(slopes.x)).toEqual([1, 0, -1]);
});

test("small starts near the base, not at it", () => {
  const site = testSite({ path: "m", index: 0, in: 6, out: 6 }, 5);
  const made = adapterTune.init(site, { ...plain, init: "small" }, { random: adapterRandom(1, "m") });
  const wide = Object.fromEntries(
    Object.entries(made).map(([name, each]) => [
      name,
      fromData("float64", Float64Array.from(numbersOf(each)), each.shape),
    ]),
  );
  const difference = largest(adapterTune.apply(site, wide, plain) as Tensor, site.output as Tensor);
  expect(difference).toBeGreaterThan(0);
  expect(difference).toBeLessThan(1e-3);
});

test("alpha folds into up; more rank contains less; an adapter with up at zero is idle", () => {
  const site = testSite({ path: "m", index: 0, in: 3, out: 3 }, 4);
  const run = (params: object, options: Partial<AdapterTuneOptions>) =>
    adapterTune.apply(site, params as never, { ...plain, rank: 2, ...options }) as Tensor;
  expect(largest(run(example, { alpha: 0.7 }), run(foldIntoUp(example, 0.7), {}))).toBeLessThan(1e-15);
  expect(largest(run(example, {}), run(padBottleneck(example, 5), { rank: 5 }))).toBeLessThan(1e-15);
  expect(() => padBottleneck(example, 1)).toThrow(/at least the 2/);
  expect(isIdle(example)).toBe(false);
  expect(isIdle({ ...example, up: tensor([0, 0, 0, 0, 0, 0], [3, 2]), upBias: tensor([0, 0, 0]) })).toBe(true);
});

test("the change is affine in the hidden numbers: in the span of up, moved by its bias", () => {
  const x = numbers("x", [8, 3], 2);
  const rank1 = {
    ...example,
    down: tensor([0.5, -0.25, 1], [1, 3]),
    downBias: tensor([0.1]),
    up: tensor([0.2, 0, 0.1], [3, 1]),
  };
  const change = numbersOf(bottleneck(x, rank1, "gelu") as Tensor);
  for (let i = 0; i < 8; i++) {
    expect(change[3 * i + 1]).toBeCloseTo(0.01, 12);
    expect(change[3 * i] / 0.2).toBeCloseTo((change[3 * i + 2] + 0.02) / 0.1, 12);
  }
});

test("counts and sites of the card", () => {
  const count = (width: number) =>
    countBlockParameters(
      adapterTune,
      everySite(12, 1).map((index) => ({ path: `blocks.${index}`, index, in: width, out: width })),
      { ...plain, rank: 16 },
    );
  expect([count(768), count(384), count(192)]).toEqual([304_320, 152_256, 76_224]);
  expect(everySite(5, 2)).toEqual([0, 2, 4]);
  expect(everySite(12, 5)).toEqual([0, 5, 10]);
  expect(() => everySite(5, 0)).toThrow(/at least 1/);
  expect(() => adapterTune.options.alpha.check(0, { option: "alpha" })).toThrow(/other than 0/);
});

test("the elbow is the smallest rank that reaches most of the best gain", async () => {
  const scores: Record<number, number> = { 1: 60, 2: 66, 4: 79.5, 8: 79, 16: 80 };
  const sweep = await rankSweep(async (rank) => scores[rank], [1, 2, 4, 8, 16]);
  expect(elbow(sweep, 50)).toBe(4);
  expect(elbow(sweep, 50, 0)).toBe(16);
  expect(elbow(sweep, 50, 0.5)).toBe(2);
  expect(() => elbow([], 0)).toThrow(/sweep/);
});

test("a shift of rank 2 has two singular values; its residual falls, ever more slowly, to zero", () => {
  const [samples, d] = [200, 5];
  const x = numbers("features", [samples, d]);
  const [u, v] = [numbersOf(numbers("u", [d, 2])), numbersOf(numbers("v", [2, d]))];
  const rows = numbersOf(x);
  const y = new Float64Array(samples * d);
  for (let n = 0; n < samples; n++) {
    for (let k = 0; k < 2; k++) {
      const along = Array.from({ length: d }, (_, i) => rows[n * d + i] * v[k * d + i]).reduce((a, b) => a + b, 0);
      for (let j = 0; j < d; j++) y[n * d + j] += along * u[j * 2 + k];
    }
  }
  const { singularValues, residual } = shiftSpectrum(x, fromData("float64", y, [samples, d]), { ridge: 0 });
  expect(singularValues[1]).toBeGreaterThan(0.1);
  expect(singularValues[2]).toBeLessThan(1e-6);
  const energy = y.reduce((sum, value) => sum + value * value, 0) / samples;
  expect(residual[0]).toBeCloseTo(energy, 9);
  expect(residual[2]).toBeLessThan(1e-12);
  for (let r = 1; r < d; r++) {
    expect(residual[r - 1] - residual[r]).toBeGreaterThanOrEqual(residual[r] - residual[r + 1] - 1e-15);
    expect(residual[r]).toBeLessThanOrEqual(residual[r - 1]);
  }
  expect(() => shiftSpectrum(x, numbers("t", [3, d]))).toThrow(/one row a sample/);
});
