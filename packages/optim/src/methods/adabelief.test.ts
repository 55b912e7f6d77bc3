import { test } from "vitest";
import { optimizerContract } from "../../test/contract.ts";
import { expectWorked } from "../../test/worked.ts";
import { adabelief } from "./adabelief.ts";

optimizerContract(adabelief);

test("not rectified: numbers of timm in float64", () => {
  expectWorked(adabelief({ rectify: false }), {
    learningRate: 0.1,
    after: [
      [0.8888888889, -1.8888888889],
      [0.7813670695, -1.8605188096],
    ],
  });
});
