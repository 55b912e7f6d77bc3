import { test } from "vitest";
import { optimizerContract } from "../../test/contract.ts";
import { expectWorked } from "../../test/worked.ts";
import { madgrad } from "./madgrad.ts";

optimizerContract(madgrad, { "a learning rate of 0 leaves the parameters bit by bit": "epsilon is added to the rate" });

test("numbers of timm in float64", () => {
  expectWorked(madgrad(), {
    learningRate: 0.1,
    after: [
      [0.982900185, -1.9784555559],
      [0.9582209126, -1.9749054742],
    ],
  });
});
