import { div, mul, sub } from "@loomweight/graph";
import { boolean, nonNegative } from "@loomweight/tensor";
import { adamOptions } from "../adam-options.ts";
import { cautious } from "../caution.ts";
import { defineOptimizer } from "../define.ts";
import { adamDenominator, biasCorrection, initMoments, movingAverage, updateMoments } from "../moments.ts";
import { perParameter } from "../per-parameter.ts";
import { decoupledDecay } from "../weight-decay.ts";

/**
 * NAdamW: AdamW whose numerator looks one momentum step ahead: beta1 m + (1 − beta1) g, divided by 1 − beta1ᵗ.
 * State: `exp_avg`, `exp_avg_sq`. Source: the AlgoPerf benchmark (arXiv:2306.07179), as timm's NAdamW; not torch's NAdam.
 */
export const nadamw = defineOptimizer({
  name: "nadamw",
  source: "arXiv:2306.07179",
  summary: "AdamW that looks one momentum step ahead.",
  learningRate: 1e-3,
  options: {
    ...adamOptions(),
    weightDecay: nonNegative(0.01, "share of the weight taken away, times the learning rate"),
    caution: boolean(false, "drops entries of the update that disagree with the gradient in sign"),
  },
  build: ({ beta1, beta2, epsilon, weightDecay, caution }) =>
    perParameter("nadamw", {
      init: initMoments,
      scalars: (step, learningRate) => ({
        keep: 1 - learningRate * weightDecay,
        stepSize: learningRate / biasCorrection(beta1, step),
        root: Math.sqrt(biasCorrection(beta2, step)),
      }),
      update({ gradient, parameter, state, scalars }) {
        const moments = updateMoments(state, gradient, { beta1, beta2 });
        const ahead = movingAverage(moments.exp_avg, gradient, beta1);
        const direction = div(
          caution ? cautious(ahead, gradient) : ahead,
          adamDenominator(moments.exp_avg_sq, scalars.root, epsilon),
        );
        return {
          parameter: sub(decoupledDecay(parameter, scalars.keep, weightDecay), mul(direction, scalars.stepSize)),
          state: moments,
        };
      },
    }),
});
