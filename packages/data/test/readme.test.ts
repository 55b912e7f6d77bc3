import { tensor } from "@loomweight/tensor";
import { expect, test } from "vitest";
import { batches, padTokens } from "../src/index.ts";

test("the README's example gives what it says", () => {
  const digits = { image: tensor([[0], [1], [2], [3], [4]]), label: tensor([0, 1, 2, 3, 4]) };
  const shapes = [...batches(digits, { batchSize: 2, shuffle: 1, epochs: 1 })].map(({ label }) => label.shape);
  expect(shapes).toEqual([[2], [2], [1]]);
  const { input_ids, labels } = padTokens([[5, 6, 7], [8]], { padId: 0, promptLengths: [1, 0] });
  expect([...input_ids.data].map(Number)).toEqual([5, 6, 7, 8, 0, 0]);
  expect([...labels.data].map(Number)).toEqual([-100, 6, 7, 8, -100, -100]);
});
