import { test } from "vitest";
import { optimizerContract } from "../../test/contract.ts";
import { expectWorked } from "../../test/worked.ts";
import { lion } from "./lion.ts";

optimizerContract(lion);

test("numbers of timm in float64", () => {
  expectWorked(lion({ weightDecay: 0.1 }), {
    learningRate: 0.1,
    after: [
      [0.89, -1.88],
      [0.7811, -1.9612],
    ],
  });
});

test("every entry moves by the rate or not at all, even at 0", () => {
  expectWorked(lion(), { learningRate: 0.1, start: [1, 2], gradients: [[0, 3e-9]], after: [[1, 1.9]] });
});
