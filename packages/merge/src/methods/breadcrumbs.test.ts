import { test } from "vitest";
import { mergeContract } from "../../test/contract.ts";
import { expectClose, runMerge, values } from "../../test/support.ts";
import { breadcrumbs } from "./breadcrumbs.ts";

const base = values([1, -0.5, 0.25, 2], [2, 2]);
const first = values([1.4, -0.3, 0.25, 1.5], [2, 2]);
const second = values([0.7, -0.1, 0.85, 2.3], [2, 2]);
const third = values([1.1, -0.9, 0.35, 2.2], [2, 2]);

mergeContract(breadcrumbs, {}, { options: { density: 0.5, gamma: 0.2 } });

test("worked example of the card", async () => {
  expectClose(
    await runMerge(breadcrumbs, { base, models: [first, second, third] }, { density: 0.5, gamma: 0.25 }),
    [1.2, 0.1, 0.25, 2.2],
    1e-5,
  );
});

test("without room for outliers nothing is dropped at the top", async () => {
  const merged = await runMerge(breadcrumbs, { base, models: [first] }, { density: 0.5, gamma: 0.01 });
  expectClose(merged, [1.4, -0.5, 0.25, 1.5]);
});

test("density and gamma above 1 together drop fewer outliers", async () => {
  const merged = await runMerge(breadcrumbs, { base, models: [first] }, { density: 0.75, gamma: 0.5 });
  expectClose(merged, [1.4, -0.3, 0.25, 2]);
});
