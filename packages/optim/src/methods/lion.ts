import { mul, sub } from "@loomweight/graph";
import { belowOne, boolean, nonNegative } from "@loomweight/tensor";
import { cautious } from "../caution.ts";
import { defineOptimizer } from "../define.ts";
import { movingAverage } from "../moments.ts";
import { perParameter, zerosLike } from "../per-parameter.ts";
import { signOf } from "../sign.ts";
import { decoupledDecay } from "../weight-decay.ts";

/**
 * Lion: p ← p (1 − lr weightDecay) − lr · sign(beta1 m + (1 − beta1) g); then m ← beta2 m + (1 − beta2) g.
 * Learning rates are 3 to 10 times smaller and decays as much larger than AdamW's.
 * State: `exp_avg`. Source: Chen et al. 2023, arXiv:2302.06675, Algorithm 2.
 */
export const lion = defineOptimizer({
  name: "lion",
  source: "arXiv:2302.06675",
  summary: "Steps by the sign of an average of gradients: one moment, equal steps.",
  learningRate: 1e-4,
  options: {
    beta1: belowOne(0.9, "weight of the average in the direction"),
    beta2: belowOne(0.99, "decay rate of the average"),
    weightDecay: nonNegative(0, "share of the weight taken away, times the learning rate"),
    caution: boolean(false, "drops entries of the update that disagree with the gradient in sign"),
  },
  build: ({ beta1, beta2, weightDecay, caution }) =>
    perParameter("lion", {
      init: (parameter) => ({ exp_avg: zerosLike(parameter) }),
      scalars: (_, learningRate) => ({ learningRate, keep: 1 - learningRate * weightDecay }),
      update({ gradient, parameter, state, scalars }) {
        const sign = signOf(movingAverage(state.exp_avg, gradient, beta1));
        const direction = caution ? cautious(sign, gradient) : sign;
        return {
          parameter: sub(decoupledDecay(parameter, scalars.keep, weightDecay), mul(direction, scalars.learningRate)),
          state: { exp_avg: movingAverage(state.exp_avg, gradient, beta2) },
        };
      },
    }),
});
