import { add, div, mul, sub } from "@loomweight/graph";
import { belowOne, boolean, nonNegative } from "@loomweight/tensor";
import { defineOptimizer } from "../define.ts";
import { adamDenominator, biasCorrection, movingAverage, square } from "../moments.ts";
import { perParameter, zerosLike } from "../per-parameter.ts";

/**
 * Adan: moving averages of the gradient (m), of its change d = gₜ − gₜ₋₁ (n; 0 at the first step) and of the square of
 * g + beta2 d (v): p ← (p − lr (m̂ + beta2 n̂) / (√v̂ + epsilon)) / (1 + lr · weightDecay), or with `proximal` false
 * p ← p (1 − lr · weightDecay) − …. The betas are the shares that stay, as in the authors' code (the paper's are 1 − beta).
 * State: `exp_avg`, `exp_avg_diff`, `exp_avg_sq`, `previous_gradient`.
 * Source: Xie et al. 2024, arXiv:2208.06677, Algorithm 1, as timm's Adan.
 */
export const adan = defineOptimizer({
  name: "adan",
  source: "arXiv:2208.06677",
  summary: "Adam with Nesterov's momentum from the change of the gradient.",
  learningRate: 1e-3,
  options: {
    beta1: belowOne(0.98, "decay rate of the average of gradients"),
    beta2: belowOne(0.92, "decay rate of the average of their changes"),
    beta3: belowOne(0.99, "decay rate of the average of squares"),
    epsilon: nonNegative(1e-8, "added to the denominator"),
    weightDecay: nonNegative(0, "share of the weight taken away, times the learning rate"),
    proximal: boolean(true, "divides by 1 + lr · weightDecay after the step instead of multiplying before it"),
  },
  build({ beta1, beta2, beta3, epsilon, weightDecay, proximal }) {
    return perParameter("adan", {
      init: (parameter) => ({
        exp_avg: zerosLike(parameter),
        exp_avg_diff: zerosLike(parameter),
        exp_avg_sq: zerosLike(parameter),
        previous_gradient: zerosLike(parameter),
      }),
      scalars: (step, learningRate) => ({
        stepSize: learningRate / biasCorrection(beta1, step),
        changeStep: (learningRate * beta2) / biasCorrection(beta2, step),
        root: Math.sqrt(biasCorrection(beta3, step)),
        keep: 1 - learningRate * weightDecay,
        grown: 1 + learningRate * weightDecay,
        changeShare: step === 1 ? 0 : 1, // there is no gradient before the first
      }),
      update({ gradient, parameter, state, scalars }) {
        const change = mul(sub(gradient, state.previous_gradient), scalars.changeShare);
        const mean = movingAverage(state.exp_avg, gradient, beta1);
        const drift = movingAverage(state.exp_avg_diff, change, beta2);
        const second = movingAverage(state.exp_avg_sq, square(add(gradient, mul(change, beta2))), beta3);
        const direction = add(mul(mean, scalars.stepSize), mul(drift, scalars.changeStep));
        const update = div(direction, adamDenominator(second, scalars.root, epsilon));
        const decays = weightDecay > 0;
        const stepped = sub(decays && !proximal ? mul(parameter, scalars.keep) : parameter, update);
        return {
          parameter: decays && proximal ? div(stepped, scalars.grown) : stepped,
          state: { exp_avg: mean, exp_avg_diff: drift, exp_avg_sq: second, previous_gradient: gradient },
        };
      },
    });
  },
});
