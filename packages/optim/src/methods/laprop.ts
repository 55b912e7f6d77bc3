import { div, mul, sub } from "@loomweight/graph";
import { nonNegative } from "@loomweight/tensor";
import { adamOptions } from "../adam-options.ts";
import { defineOptimizer } from "../define.ts";
import { adamDenominator, biasCorrection, initMoments, movingAverage, square } from "../moments.ts";
import { perParameter } from "../per-parameter.ts";
import { decoupledDecay } from "../weight-decay.ts";

/**
 * LaProp: momentum of normalized gradients: m ← beta1 m + (1 − beta1) g / (√v̂ + epsilon); p ← p − lr m / (1 − beta1ᵗ);
 * then p ← p (1 − lr · weightDecay). State: `exp_avg`, `exp_avg_sq`. Source: Ziyin et al. 2020, arXiv:2002.04839, as
 * timm's LaProp. Differs: the learning rate stays outside m, so that m does not hold rates of the past (the same for a
 * constant rate).
 */
export const laprop = defineOptimizer({
  name: "laprop",
  source: "arXiv:2002.04839",
  summary: "Adam that normalizes gradients before it averages them.",
  learningRate: 4e-4,
  options: {
    ...adamOptions({ epsilon: 1e-15 }),
    weightDecay: nonNegative(0, "share of the weight taken away, times the learning rate"),
  },
  build: ({ beta1, beta2, epsilon, weightDecay }) =>
    perParameter("laprop", {
      init: initMoments,
      scalars: (step, learningRate) => ({
        keep: 1 - learningRate * weightDecay,
        stepSize: learningRate / biasCorrection(beta1, step),
        root: Math.sqrt(biasCorrection(beta2, step)),
      }),
      update({ gradient, parameter, state, scalars }) {
        const second = movingAverage(state.exp_avg_sq, square(gradient), beta2);
        const unit = div(gradient, adamDenominator(second, scalars.root, epsilon));
        const mean = movingAverage(state.exp_avg, unit, beta1);
        const stepped = sub(parameter, mul(mean, scalars.stepSize));
        return {
          parameter: decoupledDecay(stepped, scalars.keep, weightDecay),
          state: { exp_avg: mean, exp_avg_sq: second },
        };
      },
    }),
});
