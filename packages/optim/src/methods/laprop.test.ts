import { test } from "vitest";
import { optimizerContract } from "../../test/contract.ts";
import { expectWorked } from "../../test/worked.ts";
import { laprop } from "./laprop.ts";

optimizerContract(laprop);

test("numbers of timm in float64", () => {
  expectWorked(laprop(), {
    learningRate: 0.1,
    after: [
      [0.9, -1.9],
      [0.819339449, -1.8859237089],
    ],
  });
});
