import { add, div, mul, sub } from "@loomweight/graph";
import { boolean, nonNegative } from "@loomweight/tensor";
import { adamOptions } from "../adam-options.ts";
import { defineOptimizer } from "../define.ts";
import { adamDenominator, biasCorrection, initMoments, updateMoments } from "../moments.ts";
import { perParameter } from "../per-parameter.ts";
import { coupledDecay, decoupledDecay } from "../weight-decay.ts";

/**
 * NAdam: Adam with Nesterov's momentum on a schedule μₜ = beta1 (1 − ½ · 0.96^(t · momentumDecay)):
 * p ← p − lr [ (1 − μₜ) g / (1 − Πμ) + μₜ₊₁ m / (1 − μₜ₊₁ Πμ) ] / (√v̂ + epsilon), Πμ = μ₁ … μₜ.
 * State: `exp_avg`, `exp_avg_sq`. Source: Dozat 2016 (ICLR workshop), as torch.optim.NAdam.
 */
export const nadam = defineOptimizer({
  name: "nadam",
  source: "torch.optim.NAdam",
  summary: "Adam with Nesterov's momentum on Dozat's schedule.",
  learningRate: 2e-3,
  options: {
    ...adamOptions(),
    momentumDecay: nonNegative(4e-3, "how fast the momentum rises to beta1"),
    weightDecay: nonNegative(0, "L2 penalty added to the gradient, or with `decoupled` a shrinking of the weights"),
    decoupled: boolean(false, "weight decay as in AdamW"),
  },
  build({ beta1, beta2, epsilon, momentumDecay, weightDecay, decoupled }) {
    const momentum = (step: number) => beta1 * (1 - 0.5 * 0.96 ** (step * momentumDecay));
    const product = runningProduct(momentum);
    return perParameter("nadam", {
      init: initMoments,
      scalars(step, learningRate) {
        const [now, next] = [momentum(step), momentum(step + 1)];
        return {
          keep: 1 - learningRate * weightDecay,
          root: Math.sqrt(biasCorrection(beta2, step)),
          gradientStep: (learningRate * (1 - now)) / (1 - product(step)),
          momentumStep: (learningRate * next) / (1 - product(step) * next),
        };
      },
      update({ gradient, parameter, state, scalars }) {
        const seen = decoupled ? gradient : coupledDecay(gradient, parameter, weightDecay);
        const kept = decoupled ? decoupledDecay(parameter, scalars.keep, weightDecay) : parameter;
        const moments = updateMoments(state, seen, { beta1, beta2 });
        const direction = add(mul(seen, scalars.gradientStep), mul(moments.exp_avg, scalars.momentumStep));
        const denominator = adamDenominator(moments.exp_avg_sq, scalars.root, epsilon);
        return { parameter: sub(kept, div(direction, denominator)), state: moments };
      },
    });
  },
});

/** f(1) · … · f(n); remembers the last product, so that a run of steps costs one factor each. */
function runningProduct(f: (step: number) => number): (step: number) => number {
  let [last, product] = [0, 1];
  return (step) => {
    if (step < last) [last, product] = [0, 1];
    while (last < step) product *= f(++last);
    return product;
  };
}
