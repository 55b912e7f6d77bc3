import { test } from "vitest";
import { optimizerContract } from "../../test/contract.ts";
import { expectWorked } from "../../test/worked.ts";
import { nadamw } from "./nadamw.ts";

optimizerContract(nadamw);

test("numbers of timm in float64", () => {
  expectWorked(nadamw({ weightDecay: 0.1 }), {
    learningRate: 0.1,
    after: [
      [0.8000000038, -1.7900000019],
      [0.6748117093, -1.7814217982],
    ],
  });
});
