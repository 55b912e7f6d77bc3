import { test } from "vitest";
import { mergeContract } from "../../test/contract.ts";
import { expectClose, runMerge, values } from "../../test/support.ts";
import { ram } from "./ram.ts";

mergeContract(ram);

test("worked example of the card", async () => {
  const start = values([1, 1, 1, 1, 1, 1]);
  const models = [
    [0.5, 0, -0.2, 0, 0, 0.2],
    [0.1, 0.4, 0, 0, 0, 0.6],
    [0, 0, 0, -0.3, 0, 0.4],
  ].map((change) => values(change.map((x) => 1 + x)));
  expectClose(await runMerge(ram, { base: start, models }), [1.3, 1.4, 0.8, 0.7, 1, 1.4]);
});

test("disjoint changes are summed, changes up to epsilon are none", async () => {
  const zero = values([0, 0, 0]);
  const models = [values([1, 0, 1e-6]), values([0, 2, 0])];
  expectClose(await runMerge(ram, { base: zero, models }), [1, 2, 0]);
});
