import { expect, test } from "vitest";
import { mergeContract } from "../../test/contract.ts";
import { expectClose, numbersOf, runMerge, values } from "../../test/support.ts";
import { linear } from "./linear.ts";

const first = values([1.4, -0.3, 0.25, 1.5], [2, 2]);
const second = values([0.7, -0.1, 0.85, 2.3], [2, 2]);

mergeContract(linear);

test("worked example of the card", async () => {
  expectClose(
    await runMerge(linear, { models: [first, second], weights: [1, 2] }, {}),
    [0.933333, -0.166667, 0.65, 2.033333],
    1e-5,
  );
});

test("without normalize it is the plain weighted sum", async () => {
  expectClose(
    await runMerge(linear, { models: [first, second], weights: [2, -1] }, { normalize: false }),
    [2.1, -0.5, -0.35, 0.7],
  );
});

test("weights that sum to 0 have no average", async () => {
  const merged = runMerge(linear, { models: [first, second], weights: [1, -1] });
  await expect(merged).rejects.toMatchObject({ code: "WEIGHTS_CANCEL" });
});

test("negative zeros stay negative zeros", async () => {
  const zeros = values([-0, 0]);
  const merged = numbersOf(await runMerge(linear, { models: [zeros, zeros], weights: [0.5, 0.5] }));
  expect([...merged].map((x) => Object.is(x, -0))).toEqual([true, false]);
});
