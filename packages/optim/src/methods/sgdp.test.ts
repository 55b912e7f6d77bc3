import { expect, test } from "vitest";
import { optimizerContract } from "../../test/contract.ts";
import { runScaleInvariant } from "../../test/scale-invariant.ts";
import { expectWorked } from "../../test/worked.ts";
import { sgd } from "./sgd.ts";
import { sgdp } from "./sgdp.ts";

optimizerContract(
  sgdp,
  { "entries do not depend on one another": "rows are tested and projected as a whole" },
  { options: { momentum: 0.9 }, learningRate: 0.01 },
);

test("the card's numbers", () => {
  expectWorked(sgdp({ momentum: 0.9, weightDecay: 0.01 }), {
    learningRate: 0.1,
    start: [[3, 4]],
    gradients: [[[4, -3]], [[2.148, -1.2985]]],
    tolerance: 1e-5,
    after: [[[2.597, 4.296]], [[1.99642, 4.6532]]],
  });
});

test("scale-invariant quadratic: the norm stays down and the loss far below SGD's", () => {
  const [projected, plain] = [sgdp({ momentum: 0.9 }), sgd({ momentum: 0.9 })].map((each) =>
    runScaleInvariant(each, 0.01),
  );
  expect(projected.loss).toBeLessThan(1e-4 * plain.loss);
  expect(projected.norm).toBeLessThan(plain.norm);
});
