import { add, div, mul, sub, type Value } from "@loomweight/graph";
import { boolean, nonNegative } from "@loomweight/tensor";
import { adamOptions } from "../adam-options.ts";
import { defineOptimizer } from "../define.ts";
import { adamDenominator, biasCorrection, initMoments, largestMoment, updateMoments } from "../moments.ts";
import { perParameter, zerosLike } from "../per-parameter.ts";
import { coupledDecay } from "../weight-decay.ts";

/**
 * Adam: m ← beta1 m + (1 − beta1) g; v ← beta2 v + (1 − beta2) g²; p ← p − lr m̂ / (√v̂ + epsilon), m̂ and v̂ divided by
 * 1 − betaᵗ. AMSGrad takes the largest v so far (uncorrected). Weight decay is coupled: added to the gradient.
 * `nesterov` is optax's: m̂ ← beta1 m / (1 − beta1ᵗ⁺¹) + (1 − beta1) g / (1 − beta1ᵗ).
 * State: `exp_avg`, `exp_avg_sq`, with amsgrad `max_exp_avg_sq`. Source: Kingma and Ba 2015, arXiv:1412.6980, as
 * torch.optim.Adam; Reddi et al. 2018, arXiv:1904.09237. Differs: epsilon is added after the bias correction.
 */
export const adam = defineOptimizer({
  name: "adam",
  source: "arXiv:1412.6980",
  summary: "Divides an average of gradients by the root of an average of their squares.",
  learningRate: 1e-3,
  options: {
    ...adamOptions(),
    rootEpsilon: nonNegative(0, "added to the corrected second moment under the root (optax's eps_root)"),
    weightDecay: nonNegative(0, "L2 penalty, added to the gradient"),
    amsgrad: boolean(false, "divides by the largest second moment so far"),
    nesterov: boolean(false, "looks one momentum step ahead, in optax's form"),
  },
  build({ beta1, beta2, epsilon, rootEpsilon, weightDecay, amsgrad, nesterov }) {
    return perParameter("adam", {
      init: (parameter) => ({
        ...initMoments(parameter),
        ...(amsgrad && { max_exp_avg_sq: zerosLike(parameter) }),
      }),
      scalars: (step, learningRate) => ({
        stepSize: learningRate / biasCorrection(beta1, step),
        root: Math.sqrt(biasCorrection(beta2, step)),
        ...(nesterov && {
          momentumStep: (learningRate * beta1) / biasCorrection(beta1, step + 1),
          gradientStep: (learningRate * (1 - beta1)) / biasCorrection(beta1, step),
        }),
        ...(rootEpsilon > 0 && { addedVariance: rootEpsilon * biasCorrection(beta2, step) }),
      }),
      update({ gradient, parameter, state, scalars }) {
        const decayed = coupledDecay(gradient, parameter, weightDecay);
        const moments = updateMoments(state, decayed, { beta1, beta2 });
        const largest = amsgrad && { max_exp_avg_sq: largestMoment(state.max_exp_avg_sq, moments.exp_avg_sq) };
        const second: Value = largest ? largest.max_exp_avg_sq : moments.exp_avg_sq;
        const denominator = adamDenominator(
          rootEpsilon > 0 ? add(second, scalars.addedVariance) : second, // √(v / c + e) = √(v + c e) / √c
          scalars.root,
          epsilon,
        );
        const numerator = nesterov
          ? add(mul(moments.exp_avg, scalars.momentumStep), mul(decayed, scalars.gradientStep))
          : mul(moments.exp_avg, scalars.stepSize);
        return { parameter: sub(parameter, div(numerator, denominator)), state: { ...moments, ...largest } };
      },
    });
  },
});
