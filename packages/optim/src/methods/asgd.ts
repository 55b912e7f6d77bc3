import { add, mul, sub } from "@loomweight/graph";
import { nonNegative, unitInterval } from "@loomweight/tensor";
import { copiesOf } from "../blend.ts";
import { defineOptimizer } from "../define.ts";
import { perParameter } from "../per-parameter.ts";
import { coupledDecay } from "../weight-decay.ts";

/**
 * Averaged SGD: p ← p (1 − lambda ηₜ) − ηₜ g with ηₜ = lr / (1 + lambda lr (t − 1))^alpha; the average of the iterates
 * from step `start` on is what is evaluated and saved. Weight decay is coupled.
 * State: `ax`. Source: Polyak and Juditsky 1992, as torch.optim.ASGD. Differs: ηₜ is taken from the learning rate of
 * its own step, torch's from the step before (the same for a constant rate).
 */
export const asgd = defineOptimizer({
  name: "asgd",
  source: "torch.optim.ASGD",
  summary: "SGD with a falling rate, whose result is the average of its iterates.",
  learningRate: 1e-2,
  options: {
    lambda: nonNegative(1e-4, "decay of weights and of the learning rate"),
    alpha: unitInterval(0.75, "power of the fall of the learning rate"),
    start: nonNegative(1e6, "step at which averaging starts"),
    weightDecay: nonNegative(0, "L2 penalty, added to the gradient"),
  },
  build({ lambda, alpha, start, weightDecay }) {
    const rule = perParameter("asgd", {
      init: (parameter) => ({ ax: parameter }),
      scalars(step, learningRate) {
        const rate = learningRate / (1 + lambda * learningRate * (step - 1)) ** alpha;
        const share = 1 / Math.max(1, step - 1 - start);
        return { rate, keep: 1 - lambda * rate, share, rest: 1 - share };
      },
      update({ gradient, parameter, state, scalars }) {
        const decayed = coupledDecay(gradient, parameter, weightDecay);
        const updated = sub(mul(parameter, scalars.keep), mul(decayed, scalars.rate));
        return {
          parameter: updated,
          state: { ax: add(mul(state.ax, scalars.rest), mul(updated, scalars.share)) },
        };
      },
    });
    return { ...rule, averaged: (call) => copiesOf("ax", call) };
  },
});
