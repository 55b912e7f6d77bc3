import { div, mul, sub } from "@loomweight/graph";
import { boolean, nonNegative, positive, unitInterval } from "@loomweight/tensor";
import { adamOptions } from "../adam-options.ts";
import { defineOptimizer } from "../define.ts";
import { adamDenominator, biasCorrection, initMoments, movingAverage, updateMoments } from "../moments.ts";
import { perParameter } from "../per-parameter.ts";
import { decayFactor, projectScaleInvariant } from "../projection.ts";

/**
 * AdamP: Adam whose update loses its radial part on weights whose scale does not matter (those before a normalization),
 * so that momentum does not grow their norm and shrink the effective step. q = m / (√v̂ + epsilon), projected for tensors
 * of two axes or more; p ← p (1 − lr · weightDecay · r) − lr / (1 − beta1ᵗ) · q, r = decayRatio where projected, else 1.
 * State: `exp_avg`, `exp_avg_sq` (an Adam checkpoint resumes). Source: Heo et al. 2021, arXiv:2006.08217, as
 * clovaai/AdamP.
 */
export const adamp = defineOptimizer({
  name: "adamp",
  source: "arXiv:2006.08217",
  summary: "Adam without the radial part of updates of scale-invariant weights.",
  learningRate: 1e-3,
  options: {
    ...adamOptions(),
    epsilon: positive(1e-8, "added to denominators"),
    weightDecay: nonNegative(0, "share of the weight taken away, times the learning rate"),
    delta: nonNegative(0.1, "how near to orthogonal weight and gradient must be; 0 never projects"),
    decayRatio: unitInterval(0.1, "factor of the weight decay of projected tensors"),
    nesterov: boolean(false, "looks one momentum step ahead"),
  },
  build({ beta1, beta2, epsilon, weightDecay, delta, decayRatio, nesterov }) {
    return perParameter("adamp", {
      init: initMoments,
      scalars: (step, learningRate) => ({
        decay: learningRate * weightDecay,
        keep: 1 - learningRate * weightDecay,
        stepSize: learningRate / biasCorrection(beta1, step),
        root: Math.sqrt(biasCorrection(beta2, step)),
      }),
      update({ shape, gradient, parameter, state, scalars }) {
        const moments = updateMoments(state, gradient, { beta1, beta2 });
        const numerator = nesterov ? movingAverage(moments.exp_avg, gradient, beta1) : moments.exp_avg;
        const update = div(numerator, adamDenominator(moments.exp_avg_sq, scalars.root, epsilon));
        if (shape.length < 2) {
          const kept = weightDecay === 0 ? parameter : mul(parameter, scalars.keep);
          return { parameter: sub(kept, mul(update, scalars.stepSize)), state: moments };
        }
        const projection = projectScaleInvariant({ parameter, gradient, update }, { delta, epsilon });
        const kept =
          weightDecay === 0
            ? parameter
            : mul(parameter, sub(1, mul(decayFactor(projection, decayRatio), scalars.decay)));
        return { parameter: sub(kept, mul(projection.update, scalars.stepSize)), state: moments };
      },
    });
  },
});
