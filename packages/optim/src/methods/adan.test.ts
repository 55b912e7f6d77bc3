import { test } from "vitest";
import { optimizerContract } from "../../test/contract.ts";
import { expectWorked } from "../../test/worked.ts";
import { adan } from "./adan.ts";

optimizerContract(adan);

test("numbers of timm in float64", () => {
  expectWorked(adan({ weightDecay: 0.1 }), {
    learningRate: 0.1,
    after: [
      [0.8910891109, -1.8811881198],
      [0.811029095, -1.8938397571],
    ],
  });
});
