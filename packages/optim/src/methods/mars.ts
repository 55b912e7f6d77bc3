import { add, div, max, mul, sub, type Value } from "@loomweight/graph";
import { boolean, nonNegative } from "@loomweight/tensor";
import { adamOptions } from "../adam-options.ts";
import { defineOptimizer } from "../define.ts";
import { adamDenominator, biasCorrection, initMoments, updateMoments } from "../moments.ts";
import { norm } from "../norms.ts";
import { perParameter, zerosLike } from "../per-parameter.ts";

/**
 * MARS-AdamW: AdamW on a variance-reduced gradient c = g + gamma · beta1 / (1 − beta1) · (g − previous g), shrunk to a
 * norm of at most 1 per tensor; p ← p − lr (m̂ / (√v̂ + epsilon) + weightDecay · p). The first step takes g as it is.
 * Tensors of fewer than two axes step by AdamW unless `vectors`.
 * State: `exp_avg`, `exp_avg_sq`, `last_grad`. Source: Yuan et al. 2024, arXiv:2411.10438, Algorithm 2, as timm's Mars.
 */
export const mars = defineOptimizer({
  name: "mars",
  source: "arXiv:2411.10438",
  summary: "AdamW on gradients corrected by their last change (variance reduction).",
  learningRate: 3e-3,
  options: {
    ...adamOptions({ beta2: 0.99 }),
    gamma: nonNegative(0.025, "strength of the correction"),
    weightDecay: nonNegative(0, "multiple of the weight added to the direction"),
    vectors: boolean(false, "corrects tensors of fewer than two axes too"),
  },
  build({ beta1, beta2, epsilon, gamma, weightDecay, vectors }) {
    return perParameter("mars", {
      init: (parameter) => ({ ...initMoments(parameter), last_grad: zerosLike(parameter) }),
      scalars: (step, learningRate) => ({
        learningRate,
        first: biasCorrection(beta1, step),
        root: Math.sqrt(biasCorrection(beta2, step)),
        correction: step === 1 ? 0 : (gamma * beta1) / (1 - beta1),
        clipped: step === 1 ? 0 : 1,
      }),
      update({ shape, gradient, parameter, state, scalars }) {
        const corrected = (): Value => {
          const change = sub(gradient, state.last_grad);
          const sum = add(gradient, mul(change, scalars.correction));
          return div(sum, max(mul(norm(sum), scalars.clipped), 1));
        };
        const seen = shape.length >= 2 || vectors ? corrected() : gradient;
        const moments = updateMoments(state, seen, { beta1, beta2 });
        const adaptive = div(
          div(moments.exp_avg, scalars.first),
          adamDenominator(moments.exp_avg_sq, scalars.root, epsilon),
        );
        const update = weightDecay === 0 ? adaptive : add(adaptive, mul(parameter, weightDecay));
        return {
          parameter: sub(parameter, mul(update, scalars.learningRate)),
          state: { ...moments, last_grad: gradient },
        };
      },
    });
  },
});
