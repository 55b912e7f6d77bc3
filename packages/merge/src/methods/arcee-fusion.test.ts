import { test } from "vitest";
import { mergeContract } from "../../test/contract.ts";
import { expectClose, runMerge, values } from "../../test/support.ts";
import { arceeFusion } from "./arcee-fusion.ts";

mergeContract(arceeFusion, { "model order does not matter": "takes one model" });

test("worked example of the card", async () => {
  const zero = values([0, 0, 0, 0, 0, 0]);
  const model = values([0.1, 0.2, 0.3, 0.4, 0.5, 3]);
  expectClose(await runMerge(arceeFusion, { base: zero, models: [model] }), [0, 0, 0, 0, 0, 3]);
});

test("entries of equal importance are all taken", async () => {
  const zero = values([0, 0, 0, 0]);
  const model = values([1, 1, 1, 1]);
  expectClose(await runMerge(arceeFusion, { base: zero, models: [model] }), model);
});
