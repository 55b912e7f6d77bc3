import { expect, test } from "vitest";
import { mergeContract } from "../../test/contract.ts";
import { expectClose, numbersOf, runMerge, values } from "../../test/support.ts";
import { dareLinear } from "./dare-linear.ts";
import { taskArithmetic } from "./task-arithmetic.ts";

const base = values([1, -0.5, 0.25, 2], [2, 2]);
const first = values([1.4, -0.3, 0.25, 1.5], [2, 2]);
const second = values([0.7, -0.1, 0.85, 2.3], [2, 2]);
const third = values([1.1, -0.9, 0.35, 2.2], [2, 2]);

mergeContract(dareLinear, { "model order does not matter": "draws one mask per model" }, { options: { density: 0.7 } });

test("at density 1 it is task arithmetic", async () => {
  const sources = { base, models: [first, second, third], weights: [0.5, 0.3, 0.2] };
  expectClose(
    await runMerge(dareLinear, sources),
    await runMerge(taskArithmetic, sources, { normalize: false }),
    1e-12,
  );
});

test("what is kept is scaled so that the L1 norm stays", async () => {
  const wide = values(Array.from({ length: 5000 }, (_, i) => Math.sin(i)));
  const zero = values(new Array<number>(5000).fill(0));
  const merged = numbersOf(await runMerge(dareLinear, { base: zero, models: [wide] }, { density: 0.3 }));
  const total = (numbers: Float64Array) => numbers.reduce((sum, x) => sum + Math.abs(x), 0);
  expect(total(merged)).toBeCloseTo(total(numbersOf(wide)), 6);
  const kept = merged.filter((x) => x !== 0).length / 5000;
  expect(Math.abs(kept - 0.3)).toBeLessThan(0.03);
});

test("the seed decides, and nothing else", async () => {
  const sources = { base, models: [first, second] };
  const run = async (seed: number) => [...numbersOf(await runMerge(dareLinear, sources, { density: 0.5, seed }))];
  const one = await run(1);
  const again = await run(1);
  const other = await run(2);
  expect(one).toEqual(again);
  expect(one).not.toEqual(other);
});

test("density 0 gives the base", async () => {
  expectClose(await runMerge(dareLinear, { base, models: [first] }, { density: 0 }), base);
});
