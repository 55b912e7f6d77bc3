import { add, div, max, min, mul, sqrt, sub } from "@loomweight/graph";
import { boolean, nonNegative } from "@loomweight/tensor";
import { adamOptions } from "../adam-options.ts";
import { defineOptimizer } from "../define.ts";
import { initMoments, square } from "../moments.ts";
import { perParameter } from "../per-parameter.ts";
import { coupledDecay } from "../weight-decay.ts";

/**
 * ADOPT: Adam that normalizes by the second moment of the step before and averages afterwards, which converges for any
 * beta2. The first step only sets v = g². Then u = g / max(√v, epsilon), held within ±(t − 1)^clipPower;
 * m ← beta1 m + (1 − beta1) u; p ← p − lr m; v ← beta2 v + (1 − beta2) g².
 * State: `exp_avg`, `exp_avg_sq`. Source: Taniguchi et al. 2024, arXiv:2411.02853, Algorithm 2, as timm's Adopt.
 */
export const adopt = defineOptimizer({
  name: "adopt",
  source: "arXiv:2411.02853",
  summary: "Adam that normalizes by the previous second moment: converges for any beta2.",
  learningRate: 1e-3,
  options: {
    ...adamOptions({ beta2: 0.9999, epsilon: 1e-6 }),
    clipPower: nonNegative(0.333, "normalized gradients are clipped at (step − 1) to this power; 0 does not clip"),
    weightDecay: nonNegative(0, "L2 penalty added to the gradient, or with `decoupled` a shrinking of the weights"),
    decoupled: boolean(false, "weight decay as in AdamW"),
  },
  build({ beta1, beta2, epsilon, clipPower, weightDecay, decoupled }) {
    return perParameter("adopt", {
      init: initMoments,
      scalars(step, learningRate) {
        const first = step === 1;
        return {
          keep: first ? 1 : 1 - learningRate * weightDecay,
          learningRate: first ? 0 : learningRate,
          meanKeep: first ? 1 : beta1,
          meanShare: first ? 0 : 1 - beta1,
          squareKeep: first ? 0 : beta2,
          squareShare: first ? 1 : 1 - beta2,
          bound: (step - 1) ** clipPower,
          lowerBound: -((step - 1) ** clipPower),
        };
      },
      update({ gradient, parameter, state, scalars }) {
        const seen = decoupled ? gradient : coupledDecay(gradient, parameter, weightDecay);
        const kept = decoupled && weightDecay > 0 ? mul(parameter, scalars.keep) : parameter;
        const unit = div(seen, max(sqrt(state.exp_avg_sq), epsilon));
        const held = clipPower > 0 ? max(min(unit, scalars.bound), scalars.lowerBound) : unit;
        const mean = add(mul(state.exp_avg, scalars.meanKeep), mul(held, scalars.meanShare));
        const second = add(mul(state.exp_avg_sq, scalars.squareKeep), mul(square(seen), scalars.squareShare));
        return {
          parameter: sub(kept, mul(mean, scalars.learningRate)),
          state: { exp_avg: mean, exp_avg_sq: second },
        };
      },
    });
  },
});
