import { test } from "vitest";
import { optimizerContract } from "../../test/contract.ts";
import { expectWorked } from "../../test/worked.ts";
import { adopt } from "./adopt.ts";

optimizerContract(adopt);

test("the first step only looks: numbers of timm in float64", () => {
  expectWorked(adopt(), {
    learningRate: 0.1,
    after: [
      [1, -2],
      [0.995, -2.005],
    ],
  });
});
