import { add, div, mul, sqrt, sub } from "@loomweight/graph";
import { boolean, nonNegative } from "@loomweight/tensor";
import { adamOptions } from "../adam-options.ts";
import { defineOptimizer } from "../define.ts";
import { biasCorrection, initMoments, updateMoments } from "../moments.ts";
import { perParameter } from "../per-parameter.ts";
import { averageLength, rectification } from "../rectification.ts";
import { coupledDecay, decoupledDecay } from "../weight-decay.ts";

/**
 * RAdam: Adam whose adaptive steps are scaled by r(ρₜ); while the average of squares is too short to trust (ρₜ ≤ 5) it
 * steps along m̂ alone. State: `exp_avg`, `exp_avg_sq`. Source: Liu et al. 2020, arXiv:1908.03265, as torch.optim.RAdam.
 */
export const radam = defineOptimizer({
  name: "radam",
  source: "arXiv:1908.03265",
  summary: "Adam that corrects the variance of its first steps.",
  learningRate: 1e-3,
  options: {
    ...adamOptions(),
    weightDecay: nonNegative(0, "L2 penalty added to the gradient, or with `decoupled` a shrinking of the weights"),
    decoupled: boolean(false, "weight decay as in AdamW"),
  },
  build: ({ beta1, beta2, epsilon, weightDecay, decoupled }) =>
    perParameter("radam", {
      init: initMoments,
      scalars(step, learningRate) {
        const stepSize = learningRate / biasCorrection(beta1, step);
        const adaptive = averageLength(beta2, step) > 5;
        const root = Math.sqrt(biasCorrection(beta2, step));
        return {
          keep: 1 - learningRate * weightDecay,
          plainStep: adaptive ? 0 : stepSize,
          adaptiveStep: adaptive ? stepSize * root * rectification(beta2, step) : 0,
        };
      },
      update({ gradient, parameter, state, scalars }) {
        const seen = decoupled ? gradient : coupledDecay(gradient, parameter, weightDecay);
        const kept = decoupled ? decoupledDecay(parameter, scalars.keep, weightDecay) : parameter;
        const moments = updateMoments(state, seen, { beta1, beta2 });
        // One of the two step sizes is 0: which step is taken is decided outside the graph.
        const scale = add(div(scalars.adaptiveStep, add(sqrt(moments.exp_avg_sq), epsilon)), scalars.plainStep);
        return { parameter: sub(kept, mul(moments.exp_avg, scale)), state: moments };
      },
    }),
});
