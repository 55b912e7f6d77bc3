import { test } from "vitest";
import { mergeContract } from "../../test/contract.ts";
import { expectClose, runMerge, values } from "../../test/support.ts";
import { nearswap } from "./nearswap.ts";

const base = values([1, -0.5, 0.25, 2], [2, 2]);
const second = values([0.7, -0.1, 0.85, 2.3], [2, 2]);

mergeContract(nearswap, { "model order does not matter": "takes one model" }, { options: { t: 0.1 } });

test("worked example of the card", async () => {
  expectClose(await runMerge(nearswap, { base, models: [second] }, { t: 0.1 }), [0.9, -0.4, 0.35, 2.1], 1e-5);
});

test("t of 0 or less gives the base", async () => {
  expectClose(await runMerge(nearswap, { base, models: [second] }, { t: 0 }), base);
  expectClose(await runMerge(nearswap, { base, models: [second] }, { t: -1 }), base);
});
