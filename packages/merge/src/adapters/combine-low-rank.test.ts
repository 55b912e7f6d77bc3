import { matMul } from "@loomweight/graph";
import { createRandom } from "@loomweight/kernels";
import { fromFloat64, normal, type Tensor, tensor, toFloat64 } from "@loomweight/tensor";
import { expect, test } from "vitest";
import { selectNth } from "../magnitude-cut.ts";
import { pruneByMagnitude } from "./combine-elements.ts";
import { combinations, combineLowRank } from "./combine-low-rank.ts";
import type { LowRankUpdate } from "./low-rank-sum.ts";
import { truncateDelta, truncateLowRank } from "./truncate-low-rank.ts";

const matrix = (rows: number[][]) => tensor(rows, undefined, "float64");
const delta = ({ a, b, scaling }: LowRankUpdate) => toFloat64(matMul(b, a) as Tensor).map((value) => value * scaling);
const random = (name: string, shape: number[]) => normal(shape, createRandom(11, name), { dtype: "float64" });
const randomUpdate = (name: string, rank: number, scaling: number): LowRankUpdate => ({
  a: random(`${name}/a`, [rank, 9]),
  b: random(`${name}/b`, [7, rank]),
  scaling,
});
const close = (ours: ArrayLike<number>, expected: ArrayLike<number>, tolerance = 1e-12) => {
  expect(ours.length).toBe(expected.length);
  for (let i = 0; i < ours.length; i++) expect(Math.abs(ours[i] - expected[i])).toBeLessThan(tolerance);
};

const first: LowRankUpdate = { a: matrix([[1, 0]]), b: matrix([[1], [2]]), scaling: 1 };
const second: LowRankUpdate = { a: matrix([[0, 2]]), b: matrix([[1], [-1]]), scaling: 2 };

test("worked example: cat is exact, linear is not, svd of rank 1 has the largest singular value", () => {
  const weights = [1, 0.5];
  close(delta(combineLowRank([first, second], weights, { combination: "cat" })), [1, 2, 2, -2]);
  const linear = combineLowRank([first, second], weights, { combination: "linear" });
  close(toFloat64(linear.a), [1, 2]);
  close(toFloat64(linear.b), [2, 1]);
  close(delta(linear), [2, 4, 1, 2]);
  const svd = combineLowRank([first, second], weights, { combination: "svd", rank: 1 });
  close(delta(svd), [-0.6, 1.2, 1.2, -2.4]); // σ = 3, 2
  expect(svd.relativeError).toBeCloseTo(2 / Math.sqrt(13), 12);
});

test("worked example of the rules on entries", () => {
  // As factors A of updates of rank 1 with B = 1: the rule is seen on A alone.
  const tensors = [
    [4, -1, 0.5, 2],
    [-3, 0.2, 1, 2.5],
    [1, -2, -0.1, -4],
  ];
  const updates = tensors.map((row): LowRankUpdate => ({ a: matrix([row]), b: matrix([[1]]), scaling: 1 }));
  const of = (majoritySign: "total" | "frequency") =>
    toFloat64(combineLowRank(updates, [1, 1, 0.25], { combination: "ties", density: 0.5, majoritySign }).a);
  // Weights of A are √(1, 1, 0.25) = 1, 1, 0.5; pruned [4,0,0,2], [-3,0,0,2.5], [0,-2,0,-4]; elected +, -, +, +.
  close(of("total"), [4, -1, 0, 2.25]);
  close(of("frequency"), [4, -1, 0, 2.25]);
  const pruned = combineLowRank(updates, [1, 1, 0.25], { combination: "magnitude_prune", density: 0.5 });
  close(toFloat64(pruned.a), [1, -1, 0, 2.5]);
});

test("one adapter twice with half the weight: sums and clusters give it back, elections the mean of half", () => {
  const update = randomUpdate("same", 3, 1.5);
  const expected = delta(update);
  for (const combination of combinations) {
    const found = delta(combineLowRank([update, update], [0.5, 0.5], { combination }));
    // On factors: (√½ + √½)² = 2, and an election's mean √½ · √½.
    const total = combination.includes("ties") ? 0.5 : /svd|cat|lego/.test(combination) ? 1 : 2;
    close(
      found,
      expected.map((value) => value * total),
      1e-10,
    );
  }
});

test("different ranks: svd with all ranks is the sum of deltas; factors of a lower rank are filled up", () => {
  const [a, b] = [randomUpdate("a", 4, 2), randomUpdate("b", 2, 3)];
  const sum = delta(a).map((value, i) => 0.7 * value - 0.4 * delta(b)[i]);
  close(delta(combineLowRank([a, b], [0.7, -0.4], { combination: "cat" })), sum);
  close(delta(combineLowRank([a, b], [0.7, -0.4], { combination: "svd", rank: 6 })), sum, 1e-10);
  const linear = combineLowRank([a, b], [0.7, -0.4], { combination: "linear" });
  expect(linear.a.shape).toEqual([4, 9]);
  const filled: LowRankUpdate = {
    a: fromFloat64(
      Float64Array.from({ length: 36 }, (_, i) => toFloat64(b.a)[i] ?? 0),
      [4, 9],
    ),
    b: fromFloat64(
      Float64Array.from({ length: 28 }, (_, i) => (i % 4 < 2 ? toFloat64(b.b)[Math.floor(i / 4) * 2 + (i % 4)] : 0)),
      [7, 4],
    ),
    scaling: 3,
  };
  close(delta(linear), delta(combineLowRank([a, filled], [0.7, -0.4], { combination: "linear" })));
});

test("a truncation is as good as the decomposition of the delta, and says what it left out", () => {
  const update = randomUpdate("t", 5, 1);
  const whole = fromFloat64(delta(update), [7, 9]);
  for (const rank of [1, 2, 4]) {
    const short = truncateLowRank(update, { rank });
    const full = truncateDelta(whole, { rank });
    close(delta(short), delta(full), 1e-10);
    const off =
      Math.hypot(...delta(short).map((value, i) => value - toFloat64(whole)[i])) / Math.hypot(...toFloat64(whole));
    expect(short.relativeError).toBeCloseTo(off, 10);
    expect(full.relativeError).toBeCloseTo(off, 10);
  }
  const energy = truncateLowRank(update, { energy: 0.9 });
  expect(energy.relativeError ** 2).toBeLessThanOrEqual(0.1);
  expect(energy.a.shape[0]).toBeLessThan(5);
  expect(() => truncateLowRank(update, { rank: 0 })).toThrow(/rank/);
});

test("randomised decompositions of large deltas are near the best", () => {
  const [a, b] = [
    normal([40, 600], createRandom(3, "A"), { dtype: "float64" }),
    normal([500, 40], createRandom(3, "B"), { dtype: "float64" }),
  ];
  const big = matMul(b, a) as Tensor;
  const sampled = truncateDelta(big, { rank: 16 });
  const best = truncateLowRank({ a, b, scaling: 1 }, { rank: 16 });
  expect(sampled.relativeError).toBeLessThan(1.001 * best.relativeError); // flat spectrum: the hard case
});

test("dare keeps the sum on average and is the same for the same seed", () => {
  const [a, b] = [randomUpdate("a", 3, 1), randomUpdate("b", 3, 1)];
  const exact = delta(combineLowRank([a, b], [0.6, 0.4], { combination: "cat" }));
  const of = (seed: number) =>
    delta(combineLowRank([a, b], [0.6, 0.4], { combination: "dare_linear_svd", density: 0.5, rank: 7, seed }, "q"));
  close(of(3), of(3), 0 + Number.MIN_VALUE);
  const mean = new Float64Array(63);
  for (let seed = 0; seed < 400; seed++) {
    for (const [i, value] of of(seed).entries()) mean[i] += value / 400;
  }
  const error = Math.hypot(...mean.map((value, i) => value - exact[i])) / Math.hypot(...exact);
  expect(error).toBeLessThan(0.12); // 1 / √400 for a density of one half, with room
});

test("the largest magnitudes stay, of equal ones the earlier", () => {
  const values = Float64Array.of(1, -3, 2, 2, -2, 0);
  pruneByMagnitude(values, 0.5);
  expect([...values]).toEqual([0, -3, 2, 2, 0, 0]);
  const drawn = toFloat64(random("n", [1001]));
  const sorted = drawn.slice().sort();
  for (const index of [0, 1, 500, 999, 1000]) expect(selectNth(drawn.slice(), index)).toBe(sorted[index]);
  expect(selectNth(new Float64Array(100), 42)).toBe(0);
});

test("what does not fit is refused", () => {
  expect(() => combineLowRank([first], [])).toThrow(/one finite weight is needed/);
  expect(() => combineLowRank([], [])).toThrow(/one finite weight/);
  expect(() => combineLowRank([first, randomUpdate("x", 2, 1)], [1, 1])).toThrow(/do not fit together/);
  expect(() => combineLowRank([first], [1], { combination: "tie" as never })).toThrow(/ties/);
});
