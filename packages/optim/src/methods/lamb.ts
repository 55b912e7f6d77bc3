import { add, div, mul, sub } from "@loomweight/graph";
import { boolean, nonNegative } from "@loomweight/tensor";
import { adamOptions } from "../adam-options.ts";
import { cautious } from "../caution.ts";
import { defineOptimizer } from "../define.ts";
import { adamDenominator, biasCorrection, initMoments, updateMoments } from "../moments.ts";
import { perParameter } from "../per-parameter.ts";
import { trustRatio } from "../trust-ratio.ts";

/**
 * LAMB: u = m̂ / (√v̂ + epsilon) + weightDecay · p; p ← p − lr · (|p| / |u|) · u, the ratio per tensor and 1 where either
 * norm is 0. Tensors without weight decay step by Adam's rule unless `alwaysAdapt`.
 * State: `exp_avg`, `exp_avg_sq`. Source: You et al. 2020, arXiv:1904.00962, Algorithm 2, as timm's Lamb.
 * Differs from timm: gradients are not clipped here; put `clipByGlobalNorm(1, { epsilon: 0 })` before it in a chain.
 */
export const lamb = defineOptimizer({
  name: "lamb",
  source: "arXiv:1904.00962",
  summary: "Adam with steps in proportion to each tensor's norm, for large batches.",
  learningRate: 1e-3,
  options: {
    ...adamOptions({ epsilon: 1e-6 }),
    weightDecay: nonNegative(0.01, "multiple of the weight added to the direction"),
    biasCorrection: boolean(true, "divides the moments by 1 − betaᵗ"),
    trustClip: boolean(false, "never enlarges a step (LAMBC)"),
    alwaysAdapt: boolean(false, "scales tensors without weight decay too"),
    caution: boolean(false, "drops entries of the update that disagree with the gradient in sign"),
  },
  build({ beta1, beta2, epsilon, weightDecay, biasCorrection: corrected, trustClip, alwaysAdapt, caution }) {
    return perParameter("lamb", {
      init: initMoments,
      scalars: (step, learningRate) => ({
        learningRate,
        first: corrected ? biasCorrection(beta1, step) : 1,
        root: corrected ? Math.sqrt(biasCorrection(beta2, step)) : 1,
      }),
      update({ gradient, parameter, state, scalars }) {
        const moments = updateMoments(state, gradient, { beta1, beta2 });
        const adaptive = div(
          div(moments.exp_avg, scalars.first),
          adamDenominator(moments.exp_avg_sq, scalars.root, epsilon),
        );
        const agreed = caution ? cautious(adaptive, gradient) : adaptive;
        const update = weightDecay === 0 ? agreed : add(agreed, mul(parameter, weightDecay));
        const adapts = weightDecay !== 0 || alwaysAdapt;
        const scaled = adapts ? mul(update, trustRatio(parameter, update, { clip: trustClip })) : update;
        return { parameter: sub(parameter, mul(scaled, scalars.learningRate)), state: moments };
      },
    });
  },
});
