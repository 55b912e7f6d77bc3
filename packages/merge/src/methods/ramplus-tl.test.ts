import { test } from "vitest";
import { mergeContract } from "../../test/contract.ts";
import { expectClose, runMerge, values } from "../../test/support.ts";
import { ram } from "./ram.ts";
import { ramplusTl } from "./ramplus-tl.ts";

const base = values([1, -0.5, 0.25, 2], [2, 2]);

mergeContract(ramplusTl);

test("worked example of the card", async () => {
  const start = values([1, 1, 1, 1, 1, 1]);
  const models = [
    [0.5, 0, -0.2, 0, 0, 0.2],
    [0.1, 0.4, 0, 0, 0, 0.6],
    [0, 0, 0, -0.3, 0, 0.4],
  ].map((change) => values(change.map((x) => 1 + x)));
  expectClose(await runMerge(ramplusTl, { base: start, models }), [1.3, 1.408, 0.796, 0.694, 1, 1.4]);
});

test("with r 0 it is RAM", async () => {
  const start = values([1, 1, 1, 1, 1, 1]);
  const models = [
    [0.5, 0, -0.2, 0, 0, 0.2],
    [0.1, 0.4, 0, 0, 0, 0.6],
    [0, 0, 0, -0.3, 0, 0.4],
  ].map((change) => values(change.map((x) => 1 + x)));
  const plain = await runMerge(ram, { base: start, models });
  expectClose(await runMerge(ramplusTl, { base: start, models }, { r: 0 }), plain, 1e-12);
});

test("epsilon 0 and an untouched tensor give the base", async () => {
  expectClose(await runMerge(ramplusTl, { base, models: [base, base] }, { epsilon: 0 }), base);
});
