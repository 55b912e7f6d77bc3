import { abs, add, div, max, mul, sub } from "@loomweight/graph";
import { nonNegative } from "@loomweight/tensor";
import { adamOptions } from "../adam-options.ts";
import { defineOptimizer } from "../define.ts";
import { biasCorrection, movingAverage } from "../moments.ts";
import { perParameter, zerosLike } from "../per-parameter.ts";
import { coupledDecay } from "../weight-decay.ts";

/**
 * Adamax: u ← max(beta2 u, |g| + epsilon); p ← p − lr / (1 − beta1ᵗ) · m / u, m as in Adam. Weight decay is coupled.
 * State: `exp_avg`, `exp_inf`. Source: Kingma and Ba 2015, arXiv:1412.6980, §7.1, as torch.optim.Adamax.
 */
export const adamax = defineOptimizer({
  name: "adamax",
  source: "arXiv:1412.6980",
  summary: "Adam with the largest recent gradient in place of the root mean square.",
  learningRate: 2e-3,
  options: { ...adamOptions(), weightDecay: nonNegative(0, "L2 penalty, added to the gradient") },
  build: ({ beta1, beta2, epsilon, weightDecay }) =>
    perParameter("adamax", {
      init: (parameter) => ({ exp_avg: zerosLike(parameter), exp_inf: zerosLike(parameter) }),
      scalars: (step, learningRate) => ({ stepSize: learningRate / biasCorrection(beta1, step) }),
      update({ gradient, parameter, state, scalars }) {
        const decayed = coupledDecay(gradient, parameter, weightDecay);
        const mean = movingAverage(state.exp_avg, decayed, beta1);
        const largest = max(mul(state.exp_inf, beta2), add(abs(decayed), epsilon));
        return {
          parameter: sub(parameter, mul(div(mean, largest), scalars.stepSize)),
          state: { exp_avg: mean, exp_inf: largest },
        };
      },
    }),
});
