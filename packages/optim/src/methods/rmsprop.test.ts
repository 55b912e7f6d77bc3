import { test } from "vitest";
import { optimizerContract } from "../../test/contract.ts";
import { expectWorked } from "../../test/worked.ts";
import { rmsprop } from "./rmsprop.ts";

optimizerContract(rmsprop);

test("centered: numbers of torch in float64", () => {
  expectWorked(rmsprop({ centered: true }), {
    learningRate: 0.01,
    after: [
      [0.8994962387, -1.8994962286],
      [0.8541874847, -1.9444410843],
    ],
  });
});

test("with momentum: numbers of torch in float64", () => {
  expectWorked(rmsprop({ momentum: 0.9 }), {
    learningRate: 0.01,
    after: [
      [0.90000002, -1.90000001],
      [0.7650987206, -1.8549013405],
    ],
  });
});

test("the card's numbers", () => {
  expectWorked(rmsprop(), {
    learningRate: 0.01,
    tolerance: 1e-5,
    after: [
      [0.9, -1.9],
      [0.855099, -1.9449],
    ],
  });
});

test("without average and epsilon it descends by signs", () => {
  expectWorked(rmsprop({ alpha: 0, epsilon: 0 }), {
    learningRate: 0.1,
    after: [
      [0.9, -1.9],
      [0.8, -2],
    ],
  });
});
