import { tensor } from "@loomweight/tensor";
import { expect, test } from "vitest";
import { adapt, lame } from "../src/index.ts";

test("the README's example gives what it says", async () => {
  const classifier = {
    async classify() {
      return {
        logits: tensor([
          [2, 0],
          [0.1, 0],
          [0, 2],
        ]),
        features: tensor([
          [1, 0],
          [1, 0.1],
          [0, 1],
        ]),
      };
    },
  };
  const adapter = await adapt(lame, classifier, { k: 1 });
  const { probabilities } = await adapter.step(tensor([[0], [0], [0]]));
  expect(1 / (1 + Math.exp(-0.1))).toBeCloseTo(0.52, 2);
  expect((probabilities.data as Float32Array)[2]).toBeCloseTo(0.72, 2);
});
