import { test } from "vitest";
import { mergeContract } from "../../test/contract.ts";
import { expectClose, runMerge, values } from "../../test/support.ts";
import { karcher } from "./karcher.ts";

const first = values([1.4, -0.3, 0.25, 1.5], [2, 2]);
const second = values([0.7, -0.1, 0.85, 2.3], [2, 2]);
const third = values([1.1, -0.9, 0.35, 2.2], [2, 2]);

mergeContract(karcher, {
  "model order does not matter": "where directions cancel, the first one is where the search begins",
});

test("model order does not matter where directions do not cancel", async () => {
  const turned = await runMerge(karcher, { models: [third, first, second] });
  expectClose(await runMerge(karcher, { models: [first, second, third] }), turned, 1e-9);
});

test("worked example of the card", async () => {
  expectClose(
    await runMerge(karcher, { models: [first, second, third] }, {}),
    [1.13433, -0.435383, 0.488407, 2.04423],
    1e-5,
  );
});

test("two directions meet half-way at their mean length", async () => {
  expectClose(await runMerge(karcher, { models: [values([1, 0]), values([0, 2])] }, {}), [1.06066, 1.06066], 1e-5);
});

test("a zero tensor has no direction but counts in the length, and zeros alone give zeros", async () => {
  const zero = values([0, 0, 0, 0], [2, 2]);
  expectClose(await runMerge(karcher, { models: [first, zero] }), [0.7, -0.15, 0.125, 0.75]);
  expectClose(await runMerge(karcher, { models: [zero, zero] }), zero);
});
