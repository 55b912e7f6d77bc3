import { createRandom, fromData, fromFloat64, full, toFloat64 } from "@loomweight/tensor";
import { expect, test } from "vitest";
import { expectClose } from "../test/close.ts";
import { type AdvantageEstimator, advantageEstimators, groupAdvantages, rewardsOnLastToken } from "./advantages.ts";

const of = (
  scores: readonly number[],
  estimator: AdvantageEstimator,
  group: readonly number[] = scores.map(() => 0),
) => {
  const mask = full([scores.length, 1], 1);
  return [...toFloat64(groupAdvantages(rewardsOnLastToken(scores, mask), { estimator, group, mask }))];
};
test("the card's worked example", () => {
  expectClose(of([1, 0, 0, 1], "grpo"), [0.866024, -0.866024, -0.866024, 0.866024], 6);
  expectClose(of([2, 0, 0, 2], "grpo"), [0.866025, -0.866025, -0.866025, 0.866025], 6);
  expectClose(of([1, 0, 0, 1], "rloo"), [0.666667, -0.666667, -0.666667, 0.666667], 6);
  expectClose(of([2, 0, 0, 2], "rloo"), [1.33333, -1.33333, -1.33333, 1.33333], 5);
  expectClose(of([2, 0, 1], "grpo"), [0.999999, -0.999999, 0], 6);
  expectClose(of([2, 0, 1], "rloo"), [1.5, -1.5, 0], 12);
});

test("laws: scale, shift per group, sums of zero", () => {
  const random = createRandom(3, "advantages");
  const group = [0, 1, 0, 1, 0, 1, 0, 1];
  const scores = group.map((_, i) => random.normal(i));
  const scaled = scores.map((score) => 5 * score);
  expectClose(of(scaled, "grpo", group), of(scores, "grpo", group), 5);
  expectClose(
    of(scaled, "rloo", group),
    of(scores, "rloo", group).map((value) => 5 * value),
    12,
  );
  const shifted = scores.map((score, i) => score + (group[i] === 0 ? 7 : -2));
  for (const estimator of ["grpo", "dr-grpo", "rloo"] as const) {
    const found = of(scores, estimator, group);
    expectClose(of(shifted, estimator, group), found, 10);
    for (const each of [0, 1]) {
      expect(found.filter((_, i) => group[i] === each).reduce((sum, value) => sum + value, 0)).toBeCloseTo(0, 12);
    }
  }
});

test("whitened advantages have mean 0 and deviation 1 over the mask, and are 0 outside", () => {
  const random = createRandom(4, "whiten");
  const mask = fromData("float32", Float32Array.of(1, 1, 1, 0, 1, 0, 0, 0, 1, 1, 1, 1), [3, 4]);
  const scores = [random.normal(0), random.normal(1), random.normal(2)];
  for (const estimator of ["reinforce++", "reinforce++-baseline"] as const) {
    const found = toFloat64(
      groupAdvantages(rewardsOnLastToken(scores, mask), { estimator, group: [0, 0, 1], mask, gamma: 0.9 }),
    );
    const inside = [...found].filter((_, i) => (mask.data as Float32Array)[i] === 1);
    const mean = inside.reduce((sum, value) => sum + value, 0) / inside.length;
    const variance = inside.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (inside.length - 1);
    expect(mean).toBeCloseTo(0, 6);
    expect(variance).toBeCloseTo(1, 4);
    expectClose([found[3], found[5], found[7]], [0, 0, 0], 15);
  }
});

test("what does not fit is refused by name", () => {
  const mask = full([2, 1], 1);
  const rewards = fromFloat64(Float64Array.of(1, 2), [2, 1]);
  expect(() => groupAdvantages(rewards, { estimator: "ppo" as "grpo", group: [0, 0], mask })).toThrow(
    /unknown estimator of advantages "ppo"/,
  );
  expect(() => groupAdvantages(rewards, { estimator: "grpo", group: [0], mask })).toThrow(/group \[1\]/);
  expect(() => groupAdvantages(rewards, { estimator: "grpo", group: [0, 0], mask: full([2, 2], 1) })).toThrow(
    /rewards \[2,1\] do not belong to a mask \[2,2\]/,
  );
  expect(() => rewardsOnLastToken([1], mask)).toThrow(/scores \[1\]/);
  const bad = fromFloat64(Float64Array.of(1, Number.NaN), [2, 1]);
  for (const estimator of advantageEstimators) {
    expect(() => groupAdvantages(bad, { estimator, group: [0, 0], mask })).toThrow(/reward of response 1 .* NaN/);
  }
});
