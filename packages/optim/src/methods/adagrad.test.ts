import { test } from "vitest";
import { optimizerContract } from "../../test/contract.ts";
import { expectWorked } from "../../test/worked.ts";
import { adagrad } from "./adagrad.ts";

optimizerContract(adagrad);

test("with a falling rate: numbers of torch in float64", () => {
  expectWorked(adagrad({ learningRateDecay: 0.5 }), {
    learningRate: 0.1,
    after: [
      [0.9, -1.9],
      [0.8701857603, -1.9298142397],
    ],
  });
});

test("the card's numbers", () => {
  expectWorked(adagrad(), {
    learningRate: 0.1,
    tolerance: 1e-5,
    after: [
      [0.9, -1.9],
      [0.855279, -1.94472],
    ],
  });
});
