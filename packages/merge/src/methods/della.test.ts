import { expect, test } from "vitest";
import { mergeContract } from "../../test/contract.ts";
import { expectClose, numbersOf, runMerge, values } from "../../test/support.ts";
import { della } from "./della.ts";
import { ties } from "./ties.ts";

const base = values([1, -0.5, 0.25, 2], [2, 2]);
const first = values([1.4, -0.3, 0.25, 1.5], [2, 2]);
const second = values([0.7, -0.1, 0.85, 2.3], [2, 2]);
const third = values([1.1, -0.9, 0.35, 2.2], [2, 2]);

mergeContract(della, { "model order does not matter": "draws one mask per model" }, { options: { density: 0.6 } });

test("at density 1 it is TIES without trimming", async () => {
  const sources = { base, models: [first, second, third], weights: [0.5, 0.3, 0.2] };
  expectClose(await runMerge(della, sources), await runMerge(ties, sources), 1e-12);
});

test("keep probabilities of the card: 0.35, 0.65, 0.45, 0.55 by rank within the row", async () => {
  const row = [0.1, -0.4, 0.2, 0.3];
  const wide = values(
    Array.from({ length: 4000 }, (_, i) => row[i % 4]),
    [1000, 4],
  );
  const zero = values(new Array<number>(4000).fill(0), [1000, 4]);
  const merged = numbersOf(await runMerge(della, { base: zero, models: [wide] }, { density: 0.5, rescale: false }));
  const kept = row.map((_, column) => merged.filter((x, i) => i % 4 === column && x !== 0).length / 1000);
  [0.35, 0.65, 0.45, 0.55].forEach((expected, column) => {
    expect(Math.abs(kept[column] - expected)).toBeLessThan(0.06);
  });
});

test("vectors of a convolution run along axis 1", async () => {
  const shape = [500, 2, 3];
  const wide = values(
    Array.from({ length: 3000 }, (_, i) => (Math.floor(i / 3) % 2 === 0 ? 0.1 : 0.9)),
    shape,
  );
  const zero = values(new Array<number>(3000).fill(0), shape);
  const merged = numbersOf(await runMerge(della, { base: zero, models: [wide] }, { density: 0.5, rescale: false }));
  const kept = [0.1, 0.9].map((size) => merged.filter((x) => Math.abs(x - size) < 1e-9).length / 1500);
  expect(Math.abs(kept[0] - 0.35)).toBeLessThan(0.06);
  expect(Math.abs(kept[1] - 0.65)).toBeLessThan(0.06);
});

test("probabilities outside 0 to 1 are refused, density 0 gives the base", async () => {
  const merged = runMerge(della, { base, models: [first] }, { density: 0.9 });
  await expect(merged).rejects.toMatchObject({ code: "INVALID_OPTION" });
  expectClose(await runMerge(della, { base, models: [first] }, { density: 0 }), base);
});
