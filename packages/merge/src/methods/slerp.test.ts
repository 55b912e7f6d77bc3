import { expect, test } from "vitest";
import { mergeContract } from "../../test/contract.ts";
import { expectClose, runMerge, values } from "../../test/support.ts";
import { slerp } from "./slerp.ts";

const base = values([1, -0.5, 0.25, 2], [2, 2]);
const second = values([0.7, -0.1, 0.85, 2.3], [2, 2]);

mergeContract(slerp, { "model order does not matter": "takes one model" }, { options: { t: 0.3 } });

test("worked example of the card", async () => {
  expectClose(
    await runMerge(slerp, { base, models: [second] }, { t: 0.3 }),
    [0.920124, -0.3838, 0.43594, 2.11479],
    1e-5,
  );
});

test("it runs from the base at 0 to the model at 1", async () => {
  expectClose(await runMerge(slerp, { base, models: [second] }, { t: 0 }), base);
  expectClose(await runMerge(slerp, { base, models: [second] }, { t: 1 }), second);
});

test("nearly parallel and opposite tensors are joined by a line", async () => {
  const opposite = values([-1, 0.5, -0.25, -2], [2, 2]);
  expectClose(await runMerge(slerp, { base, models: [opposite] }, { t: 0.5 }), [0, 0, 0, 0]);
});

test("t is required", async () => {
  await expect(runMerge(slerp, { base, models: [second] })).rejects.toMatchObject({ code: "MISSING_OPTION" });
});
