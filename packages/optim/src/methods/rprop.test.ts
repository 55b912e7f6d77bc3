import { expect, test } from "vitest";
import { optimizerContract } from "../../test/contract.ts";
import { expectWorked } from "../../test/worked.ts";
import { rprop } from "./rprop.ts";

optimizerContract(rprop, {
  "a learning rate of 0 leaves the parameters bit by bit": "step sizes have a lower bound, whatever the rate",
});

test("numbers of torch in float64", () => {
  expectWorked(rprop(), {
    learningRate: 0.1,
    after: [
      [0.9, -1.9],
      [0.78, -1.9],
    ],
  });
});

test("bounds that do not fit are refused", () => {
  expect(() => rprop({ etaPlus: 0.9 })).toThrow(/etaMinus < 1 < etaPlus/);
  expect(() => rprop({ smallestStep: 1, largestStep: 0.5 })).toThrow(/smallestStep <= largestStep/);
});
