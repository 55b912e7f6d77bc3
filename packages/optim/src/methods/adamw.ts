import { div, mul, sub } from "@loomweight/graph";
import { boolean, nonNegative } from "@loomweight/tensor";
import { adamOptions } from "../adam-options.ts";
import { cautious } from "../caution.ts";
import { defineOptimizer } from "../define.ts";
import { adamDenominator, biasCorrection, initMoments, largestMoment, updateMoments } from "../moments.ts";
import { perParameter, zerosLike } from "../per-parameter.ts";
import { decoupledDecay } from "../weight-decay.ts";

/**
 * AdamW: p ← p (1 − lr · weightDecay), then Adam's step on the bare gradient; the decay follows the schedule of lr.
 * State: `exp_avg`, `exp_avg_sq`, with amsgrad `max_exp_avg_sq`. Source: Loshchilov and Hutter 2019, arXiv:1711.05101,
 * as torch.optim.AdamW. Differs from the paper: the decay is multiplied by lr.
 */
export const adamw = defineOptimizer({
  name: "adamw",
  source: "arXiv:1711.05101",
  summary: "Adam with weight decay that shrinks the weights themselves.",
  learningRate: 1e-3,
  options: {
    ...adamOptions(),
    weightDecay: nonNegative(0.01, "share of the weight taken away, times the learning rate"),
    amsgrad: boolean(false, "divides by the largest second moment so far"),
    caution: boolean(false, "drops entries of the update that disagree with the gradient in sign"),
  },
  build({ beta1, beta2, epsilon, weightDecay, amsgrad, caution }) {
    return perParameter("adamw", {
      init: (parameter) => ({
        ...initMoments(parameter),
        ...(amsgrad && { max_exp_avg_sq: zerosLike(parameter) }),
      }),
      scalars: (step, learningRate) => ({
        keep: 1 - learningRate * weightDecay,
        stepSize: learningRate / biasCorrection(beta1, step),
        root: Math.sqrt(biasCorrection(beta2, step)),
      }),
      update({ gradient, parameter, state, scalars }) {
        const moments = updateMoments(state, gradient, { beta1, beta2 });
        const largest = amsgrad && { max_exp_avg_sq: largestMoment(state.max_exp_avg_sq, moments.exp_avg_sq) };
        const second = largest ? largest.max_exp_avg_sq : moments.exp_avg_sq;
        const update = div(moments.exp_avg, adamDenominator(second, scalars.root, epsilon));
        const direction = caution ? cautious(update, gradient) : update;
        return {
          parameter: sub(decoupledDecay(parameter, scalars.keep, weightDecay), mul(direction, scalars.stepSize)),
          state: { ...moments, ...largest },
        };
      },
    });
  },
});
