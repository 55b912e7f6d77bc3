import fc from "fast-check";
import { expect, test } from "vitest";
import { mergeContract } from "../../test/contract.ts";
import { anyNumber, anyTensors, expectClose, numbersOf, runMerge, values } from "../../test/support.ts";
import { taskArithmetic } from "./task-arithmetic.ts";
import { ties } from "./ties.ts";

const base = values([1, -0.5, 0.25, 2], [2, 2]);
const first = values([1.4, -0.3, 0.25, 1.5], [2, 2]);
const second = values([0.7, -0.1, 0.85, 2.3], [2, 2]);
const third = values([1.1, -0.9, 0.35, 2.2], [2, 2]);

mergeContract(ties, {}, { options: { density: 0.6 } });

test("worked example of the card", async () => {
  expectClose(
    await runMerge(ties, { base, models: [first, second, third] }, { density: 0.5 }),
    [1.4, -0.1, 0.85, 1.5],
    1e-5,
  );
});

test("lambda scales the change", async () => {
  expectClose(
    await runMerge(ties, { base, models: [first, second, third] }, { density: 0.5, lambda: 0.5 }),
    [1.2, -0.3, 0.55, 1.75],
    1e-5,
  );
});

test("one model at density 1 is task arithmetic", async () => {
  await fc.assert(
    fc.asyncProperty(anyTensors(2), anyNumber(), async ([start, model], lambda) => {
      const merged = await runMerge(ties, { base: start, models: [model] }, { density: 1, lambda });
      expectClose(merged, await runMerge(taskArithmetic, { base: start, models: [model] }, { lambda }), 1e-12);
    }),
    { numRuns: 50 },
  );
});

test("a density that keeps nothing is refused", async () => {
  const merged = runMerge(ties, { base, models: [first] }, { density: 0.2 });
  await expect(merged).rejects.toMatchObject({ code: "EMPTY_SELECTION" });
});

test("weights that cancel divide by 1", async () => {
  const same = { base, models: [first, first, first], weights: [0.3, -0.5, 0.2] };
  const numbers = numbersOf(await runMerge(ties, same));
  expect(Math.max(...numbers.map(Math.abs))).toBeLessThan(10);
});

test("rescale restores the L1 norm that trimming took", async () => {
  const merged = await runMerge(ties, { base, models: [first] }, { density: 0.5, rescale: true });
  const change = numbersOf(merged).reduce((sum, x, i) => sum + Math.abs(x - numbersOf(base)[i]), 0);
  expect(change).toBeCloseTo(1.1, 12);
});
