import { equal } from "@loomweight/tensor";
import { expect, test } from "vitest";
import { optimizerContract } from "../../test/contract.ts";
import { runSteps } from "../../test/run.ts";
import { wave } from "../../test/wave.ts";
import { expectWorked } from "../../test/worked.ts";
import { lars } from "./lars.ts";
import { sgd } from "./sgd.ts";

optimizerContract(
  lars,
  { "entries do not depend on one another": "steps are scaled by the norms of the tensor" },
  { options: { weightDecay: 0.01, momentum: 0.9 } },
);

test("numbers of timm in float64", () => {
  expectWorked(lars({ momentum: 0.9, weightDecay: 0.01, trustCoefficient: 0.1 }), {
    learningRate: 0.1,
    after: [
      [0.9900000001, -1.9800000002],
      [0.9711000003, -1.9802915737],
    ],
  });
});

test("without weight decay it is SGD with momentum unless told to adapt always", () => {
  const initial = { p: wave([4], 1) };
  const gradients = Array.from({ length: 4 }, (_, t) => ({ p: wave([4], t) }));
  const [plain, off, always] = [
    sgd({ momentum: 0.9 }),
    lars({ momentum: 0.9 }),
    lars({ momentum: 0.9, alwaysAdapt: true }),
  ].map((optimizer) => runSteps(optimizer, initial, gradients, 0.1)[3].parameters.p);
  expect(equal(off, plain)).toBe(true);
  expect(equal(always, plain)).toBe(false);
});
