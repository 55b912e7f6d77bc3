import { expect, test } from "vitest";
import { mergeContract } from "../../test/contract.ts";
import { expectClose, expectSame, runMerge, values } from "../../test/support.ts";
import { passthrough } from "./passthrough.ts";

const first = values([1.4, -0.3, 0.25, 1.5], [2, 2]);
const second = values([0.7, -0.1, 0.85, 2.3], [2, 2]);

mergeContract(passthrough, { "model order does not matter": "takes one model" });

test("the tensor is taken as it is, or scaled", async () => {
  expectSame(await runMerge(passthrough, { models: [first] }), first);
  expectClose(await runMerge(passthrough, { models: [first] }, { scale: 0.5 }), [0.7, -0.15, 0.125, 0.75]);
});

test("two models are refused", async () => {
  await expect(runMerge(passthrough, { models: [first, second] })).rejects.toMatchObject({ code: "MODEL_COUNT" });
});
