import { test } from "vitest";
import { optimizerContract } from "../../test/contract.ts";
import { expectWorked } from "../../test/worked.ts";
import { mars } from "./mars.ts";

optimizerContract(mars, { "entries do not depend on one another": "corrected gradients are clipped by their norm" });

test("on vectors too: numbers of timm in float64", () => {
  expectWorked(mars({ vectors: true }), {
    learningRate: 0.1,
    after: [
      [0.900000002, -1.900000001],
      [0.8104763115, -1.896431967],
    ],
  });
});
