import { expect, test } from "vitest";
import { choice } from "../space/choice.ts";
import { defineSpace } from "../space/space.ts";
import { bestArchitecture } from "./candidates.ts";

const decisions = [0, 1, 2, 3].map((i) => choice(`layer.${i}`, [1, 2, 3, 4, 5]));
const space = defineSpace({}, decisions);
/** Highest at 3, 4, 5, 1. */
const score = (architecture: Readonly<Record<string, number>>) =>
  -[3, 4, 5, 1].reduce((sum, goal, i) => sum + (architecture[`layer.${i}`] - goal) ** 2, 0);

test("all networks: the best one, and a limit keeps to what it accepts", async () => {
  const best = await bestArchitecture(space, score);
  expect(best.architecture).toEqual({ "layer.0": 3, "layer.1": 4, "layer.2": 5, "layer.3": 1 });
  expect(best.scored).toHaveLength(625);
  const sum = (each: Readonly<Record<string, number>>) => Object.values(each).reduce((a, b) => a + b, 0);
  const small = await bestArchitecture(space, score, { accepts: (each) => sum(each) <= 8 });
  expect(sum(small.architecture)).toBeLessThanOrEqual(8);
  expect(small.score).toBeLessThan(0);
});

test("evolution scores no network twice and finds better ones than as many random draws", async () => {
  let better = 0;
  for (const seed of [1, 2, 3, 4, 5]) {
    const options = { count: 100, population: 20, parents: 5, mutation: 0.3, seed };
    const random = await bestArchitecture(space, score, { ...options, strategy: "random" });
    const evolved = await bestArchitecture(space, score, { ...options, strategy: "evolution" });
    for (const each of [random, evolved]) {
      expect(each.scored).toHaveLength(100);
      expect(new Set(each.scored.map(({ architecture }) => JSON.stringify(architecture))).size).toBe(100);
    }
    better += Number(evolved.score >= random.score);
    expect(await bestArchitecture(space, score, { ...options, strategy: "evolution" })).toEqual(evolved);
  }
  expect(better).toBeGreaterThanOrEqual(4);
});

test("nothing accepted and bad numbers are refused", async () => {
  await expect(bestArchitecture(space, score, { accepts: () => false })).rejects.toThrow(
    /no network of the space is accepted/,
  );
  await expect(bestArchitecture(space, score, { count: 0 })).rejects.toThrow(/count/);
  await expect(bestArchitecture(space, score, { strategy: "evolution", mutation: 2 })).rejects.toThrow(/mutation/);
});
