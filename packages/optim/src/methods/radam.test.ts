import { expect, test } from "vitest";
import { optimizerContract } from "../../test/contract.ts";
import { expectWorked } from "../../test/worked.ts";
import { radam } from "./radam.ts";

optimizerContract(radam);

test("first steps along the average alone: numbers of torch in float64", () => {
  expectWorked(radam({ beta2: 0.9 }), {
    learningRate: 0.1,
    after: [
      [0.95, -1.9],
      [0.9131578947, -1.8789473684],
    ],
  });
});

test("adaptive from the sixth step on with the usual beta2", () => {
  const optimizer = radam();
  expect(optimizer.scalars(5, 1).adaptiveStep).toBe(0);
  expect(optimizer.scalars(6, 1).plainStep).toBe(0);
  expect(optimizer.scalars(6, 1).adaptiveStep).toBeGreaterThan(0);
});
