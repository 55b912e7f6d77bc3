import { expectClose, toFloat64 } from "@loomweight/tensor";
import { expect, test } from "vitest";
import { optimizerContract } from "../../test/contract.ts";
import { runSteps } from "../../test/run.ts";
import { wave } from "../../test/wave.ts";
import { expectWorked } from "../../test/worked.ts";
import { adam } from "./adam.ts";
import { adamw } from "./adamw.ts";

optimizerContract(adamw);

test("decoupled weight decay: numbers of torch in float64", () => {
  expectWorked(adamw({ weightDecay: 0.1 }), {
    learningRate: 0.1,
    after: [
      [0.890000002, -1.880000001],
      [0.7878820405, -1.8345662974],
    ],
  });
});

test("without decay it is Adam, bit by bit", () => {
  const initial = { p: wave([4], 1) };
  const gradients = Array.from({ length: 5 }, (_, t) => ({ p: wave([4], t) }));
  const [a, w] = [adam(), adamw({ weightDecay: 0 })].map(
    (optimizer) => runSteps(optimizer, initial, gradients, 0.01)[4].parameters.p,
  );
  expectClose(w, a, 1e-15);
});

test("caution never moves against the gradient", () => {
  const initial = { p: wave([6], 1) };
  const gradients = Array.from({ length: 6 }, (_, t) => ({ p: wave([6], t) }));
  const steps = runSteps(adamw({ caution: true, weightDecay: 0 }), initial, gradients, 0.01);
  for (let t = 1; t < steps.length; t++) {
    const [before, after] = [steps[t - 1], steps[t]].map(({ parameters }) => toFloat64(parameters.p));
    for (const [i, g] of toFloat64(gradients[t].p).entries()) expect((after[i] - before[i]) * g).toBeLessThanOrEqual(0);
  }
});
