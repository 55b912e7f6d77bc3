import { test } from "vitest";
import { mergeContract } from "../../test/contract.ts";
import { expectClose, runMerge, values } from "../../test/support.ts";
import { breadcrumbsTies } from "./breadcrumbs-ties.ts";
import { ties } from "./ties.ts";

const base = values([1, -0.5, 0.25, 2], [2, 2]);
const first = values([1.4, -0.3, 0.25, 1.5], [2, 2]);
const second = values([0.7, -0.1, 0.85, 2.3], [2, 2]);
const third = values([1.1, -0.9, 0.35, 2.2], [2, 2]);

mergeContract(breadcrumbsTies, {}, { options: { density: 0.5, gamma: 0.2 } });

test("worked example of the card", async () => {
  expectClose(
    await runMerge(breadcrumbsTies, { base, models: [first, second, third] }, { density: 0.5, gamma: 0.25 }),
    [1.5, 0.1, 0.25, 2.2],
    1e-5,
  );
});

test("at density 1 it is TIES without trimming", async () => {
  const sources = { base, models: [first, second, third], weights: [0.5, 0.3, 0.2] };
  expectClose(await runMerge(breadcrumbsTies, sources), await runMerge(ties, sources, { normalize: false }), 1e-12);
});
