import { test } from "vitest";
import { mergeContract } from "../../test/contract.ts";
import { expectClose, runMerge, values } from "../../test/support.ts";
import { sce } from "./sce.ts";

const base = values([1, -0.5, 0.25, 2], [2, 2]);
const first = values([1.4, -0.3, 0.25, 1.5], [2, 2]);
const second = values([0.7, -0.1, 0.85, 2.3], [2, 2]);
const third = values([1.1, -0.9, 0.35, 2.2], [2, 2]);

mergeContract(sce, {}, { options: { selectTopk: 0.8 } });

test("worked example of the card", async () => {
  expectClose(
    await runMerge(sce, { base, models: [first, second, third] }, {}),
    [1.30149, -0.178261, 0.730435, 2.27609],
    1e-5,
  );
});

test("only the entries that vary most are taken", async () => {
  expectClose(
    await runMerge(sce, { base, models: [first, second, third] }, { selectTopk: 0.5 }),
    [1, -0.207407, 0.25, 2.25556],
    1e-5,
  );
});

test("one model is taken whole, and selecting nothing gives the base", async () => {
  expectClose(await runMerge(sce, { base, models: [first] }), first);
  expectClose(await runMerge(sce, { base, models: [first, second] }, { selectTopk: 0.1 }), base);
});
