import { test } from "vitest";
import { mergeContract } from "../../test/contract.ts";
import { expectClose, runMerge, values } from "../../test/support.ts";
import { linear } from "./linear.ts";
import { taskArithmetic } from "./task-arithmetic.ts";

const base = values([1, -0.5, 0.25, 2], [2, 2]);
const first = values([1.4, -0.3, 0.25, 1.5], [2, 2]);
const second = values([0.7, -0.1, 0.85, 2.3], [2, 2]);
const third = values([1.1, -0.9, 0.35, 2.2], [2, 2]);

mergeContract(taskArithmetic);

test("worked example of the card", async () => {
  expectClose(
    await runMerge(taskArithmetic, { base, models: [first, second, third], weights: [0.5, 0.3, 0.2] }, {}),
    [1.13, -0.36, 0.45, 1.88],
    1e-5,
  );
});

test("normalised, it is the average of the models", async () => {
  const weights = [0.5, 0.3, 0.7];
  const models = [first, second, third];
  const merged = await runMerge(taskArithmetic, { base, models, weights }, { normalize: true });
  expectClose(merged, await runMerge(linear, { models, weights }), 1e-12);
});

test("lambda scales the change", async () => {
  const merged = await runMerge(taskArithmetic, { base, models: [first] }, { lambda: 0.5 });
  expectClose(merged, [1.2, -0.4, 0.25, 1.75]);
});
