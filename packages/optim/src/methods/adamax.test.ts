import { test } from "vitest";
import { optimizerContract } from "../../test/contract.ts";
import { expectWorked } from "../../test/worked.ts";
import { adamax } from "./adamax.ts";

optimizerContract(adamax);

test("numbers of torch in float64", () => {
  expectWorked(adamax(), {
    learningRate: 0.1,
    after: [
      [0.900000002, -1.900000001],
      [0.826242035, -1.8789262959],
    ],
  });
});
