import type { Tensor } from "@loomweight/tensor";
import { expect, test } from "vitest";
import { mergeContract } from "../../test/contract.ts";
import { expectClose, numbersOf, runMerge, values } from "../../test/support.ts";
import { modelStock } from "./model-stock.ts";

const base = values([1, -0.5, 0.25, 2], [2, 2]);
const first = values([1.4, -0.3, 0.25, 1.5], [2, 2]);

mergeContract(modelStock);

test("worked example of the card", async () => {
  const models = [values([1.2, -0.4, 0.25, 1.7], [2, 2]), values([1.3, -0.5, 0.15, 1.8], [2, 2])];
  expectClose(await runMerge(modelStock, { base, models }), [1.23077, -0.453846, 0.203846, 1.76923], 1e-5);
});

test("per row, every row is merged as a tensor of its own", async () => {
  const models = [values([1.2, -0.4, 0.25, 1.7], [2, 2]), values([1.3, -0.5, 0.15, 1.8], [2, 2])];
  const whole = numbersOf(await runMerge(modelStock, { base, models }, { filterWise: true }));
  for (const row of [0, 1]) {
    const part = (tensor: Tensor) => values([...numbersOf(tensor)].slice(2 * row, 2 * row + 2));
    const alone = await runMerge(modelStock, { base: part(base), models: models.map(part) });
    expectClose(alone, [...whole.slice(2 * row, 2 * row + 2)], 1e-12);
  }
});

test("fewer than two models are refused", async () => {
  await expect(runMerge(modelStock, { base, models: [first] })).rejects.toMatchObject({ code: "MODEL_COUNT" });
});
