import { test } from "vitest";
import { mergeContract } from "../../test/contract.ts";
import { expectClose, runMerge, values } from "../../test/support.ts";
import { nuslerp } from "./nuslerp.ts";

const base = values([1, -0.5, 0.25, 2], [2, 2]);
const first = values([1.4, -0.3, 0.25, 1.5], [2, 2]);
const second = values([0.7, -0.1, 0.85, 2.3], [2, 2]);

mergeContract(nuslerp, { "model order does not matter": "the first model is where the arc begins, and t is rounded" });

test("worked example of the card: whole, by rows, by columns", async () => {
  const pair = { models: [first, second], weights: [1, 3] };
  expectClose(await runMerge(nuslerp, pair), [0.899056, -0.15445, 0.714517, 2.14763], 1e-5);
  const rows = await runMerge(nuslerp, pair, { nuslerpFlatten: false });
  expectClose(rows, [0.875445, -0.150082, 0.702013, 2.1066], 1e-5);
  const columns = await runMerge(nuslerp, pair, { nuslerpFlatten: false, nuslerpRowWise: true });
  expectClose(columns, [0.92373, -0.150408, 0.72933, 2.10438], 1e-5);
});

test("with a base it turns task vectors", async () => {
  expectClose(
    await runMerge(nuslerp, { base, models: [first, second], weights: [1, 3] }, {}),
    [0.879959, 0.0192768, 0.881961, 2.07106],
    1e-5,
  );
});

test("weights that cancel meet half-way", async () => {
  const cancelled = await runMerge(nuslerp, { models: [first, second], weights: [1, -1] });
  expectClose(cancelled, await runMerge(nuslerp, { models: [first, second], weights: [1, 1] }));
});
