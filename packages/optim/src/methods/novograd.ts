import { add, div, mul, reduceSumSquare, sqrt, sub } from "@loomweight/graph";
import { belowOne, nonNegative, zeros } from "@loomweight/tensor";
import { defineOptimizer } from "../define.ts";
import { perParameter, zerosLike } from "../per-parameter.ts";

/**
 * NovoGrad: one second moment per tensor, v ← beta2 v + (1 − beta2) |g|² (the first v is |g|²);
 * m ← beta1 m + g / (√v + epsilon) + weightDecay · p; p ← p − lr m.
 * State: `exp_avg`, `exp_avg_sq` (a scalar). Source: Ginsburg et al. 2019, arXiv:1905.11286, Algorithm 1, as
 * optax.novograd.
 */
export const novograd = defineOptimizer({
  name: "novograd",
  source: "arXiv:1905.11286",
  summary: "Momentum on gradients normalized per tensor: one scalar second moment each.",
  learningRate: 1e-2,
  options: {
    beta1: belowOne(0.9, "share of the momentum that stays at every step"),
    beta2: belowOne(0.25, "decay rate of the squared norm"),
    epsilon: nonNegative(1e-6, "added to the norm"),
    rootEpsilon: nonNegative(0, "added to the squared norm"),
    weightDecay: nonNegative(0, "multiple of the weight added to the normalized gradient"),
  },
  build: ({ beta1, beta2, epsilon, rootEpsilon, weightDecay }) =>
    perParameter("novograd", {
      init: (parameter) => ({ exp_avg: zerosLike(parameter), exp_avg_sq: zeros([], parameter.dtype) }),
      scalars: (step, learningRate) => ({
        learningRate,
        keep: step === 1 ? 0 : beta2,
        share: step === 1 ? 1 : 1 - beta2,
      }),
      update({ gradient, parameter, state, scalars }) {
        const energy = reduceSumSquare(gradient, undefined, false);
        const second = add(mul(state.exp_avg_sq, scalars.keep), mul(energy, scalars.share));
        const length = add(sqrt(rootEpsilon > 0 ? add(second, rootEpsilon) : second), epsilon);
        const unit = div(gradient, length);
        const added = weightDecay === 0 ? unit : add(unit, mul(parameter, weightDecay));
        const mean = add(mul(state.exp_avg, beta1), added);
        return {
          parameter: sub(parameter, mul(mean, scalars.learningRate)),
          state: { exp_avg: mean, exp_avg_sq: second },
        };
      },
    }),
});
