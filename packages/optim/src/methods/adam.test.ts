import { expectClose, toFloat64 } from "@loomweight/tensor";
import { expect, test } from "vitest";
import { optimizerContract } from "../../test/contract.ts";
import { runSteps } from "../../test/run.ts";
import { wave } from "../../test/wave.ts";
import { expectWorked } from "../../test/worked.ts";
import { adam } from "./adam.ts";
import { rmsprop } from "./rmsprop.ts";

optimizerContract(adam);

test("coupled weight decay: numbers of torch in float64", () => {
  expectWorked(adam({ weightDecay: 0.1 }), {
    learningRate: 0.1,
    after: [
      [0.9000000017, -1.9000000008],
      [0.8050097659, -1.8537472646],
    ],
  });
});

test("the card's numbers without decay", () => {
  expectWorked(adam(), {
    learningRate: 0.1,
    tolerance: 1e-5,
    after: [
      [0.9, -1.9],
      [0.806782, -1.87337],
    ],
  });
});

test("the first step without epsilon is the sign of the gradient times the rate", () => {
  expectWorked(adam({ epsilon: 0 }), { learningRate: 0.1, after: [[0.9, -1.9]] });
});

test("amsgrad's second moment never falls", () => {
  const initial = { p: wave([4], 1) };
  const gradients = Array.from({ length: 10 }, (_, t) => ({ p: wave([4], t) }));
  const largest = runSteps(adam({ beta2: 0.5, amsgrad: true }), initial, gradients, 0.01).map(({ state }) =>
    toFloat64(state["max_exp_avg_sq/p"]),
  );
  for (let t = 1; t < largest.length; t++)
    for (const [i, v] of largest[t].entries()) expect(v).toBeGreaterThanOrEqual(largest[t - 1][i]);
});

test("without averages it is RMSprop without average", () => {
  const initial = { p: wave([4], 1) };
  const gradients = Array.from({ length: 3 }, (_, t) => ({ p: wave([4], t) }));
  const [a, r] = [adam({ beta1: 0, beta2: 0 }), rmsprop({ alpha: 0 })].map(
    (optimizer) => runSteps(optimizer, initial, gradients, 0.01)[2].parameters.p,
  );
  expectClose(a, r, 1e-14);
});
