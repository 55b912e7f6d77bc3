import { add, cast, clip, less, mul, sub, where } from "@loomweight/graph";
import { finite, nonNegative, positive } from "@loomweight/tensor";
import { defineOptimizer } from "../define.ts";
import { invalidCombination } from "../invalid-combination.ts";
import { perParameter, zerosLike } from "../per-parameter.ts";
import { positiveMask, signOf } from "../sign.ts";

/**
 * Rprop: every entry has a step size of its own, multiplied by `etaPlus` where the gradient keeps its sign and by
 * `etaMinus` where it changes; p ← p − stepSize · sign(g). On a change of sign the entry rests for one step (g ← 0).
 * For gradients of the whole data set, not of batches. State: `prev`, `step_size` (from lr at the first step).
 * Source: Riedmiller and Braun 1993, as torch.optim.Rprop.
 */
export const rprop = defineOptimizer({
  name: "rprop",
  source: "torch.optim.Rprop",
  summary: "Adapts a step size per entry from the signs of full-batch gradients.",
  learningRate: 1e-2,
  options: {
    etaMinus: positive(0.5, "factor of the step size where the gradient changed sign; below 1"),
    etaPlus: finite(1.2, "factor of the step size where the gradient kept its sign; above 1"),
    smallestStep: nonNegative(1e-6, "lower bound of the step sizes"),
    largestStep: positive(50, "upper bound of the step sizes"),
  },
  build({ etaMinus, etaPlus, smallestStep, largestStep }) {
    if (!(etaMinus < 1 && etaPlus > 1)) {
      throw invalidCombination("rprop.etaMinus", "etaMinus < 1 < etaPlus", { etaMinus, etaPlus });
    }
    if (smallestStep > largestStep) {
      throw invalidCombination("rprop.smallestStep", "smallestStep <= largestStep", { smallestStep, largestStep });
    }
    return perParameter("rprop", {
      init: (parameter) => ({ prev: zerosLike(parameter), step_size: zerosLike(parameter) }),
      // The state is made before the learning rate is known: sizes are 0 until the first step adds it.
      scalars: (step, learningRate) => ({ firstSize: step === 1 ? learningRate : 0 }),
      update({ gradient, parameter, state, scalars }) {
        const agreement = mul(gradient, state.prev);
        const changed = less(agreement, 0);
        const kept = positiveMask(agreement);
        const broken = cast(changed, agreement.dtype);
        const factor = add(add(mul(kept, etaPlus - 1), mul(broken, etaMinus - 1)), 1);
        const size = clip(mul(add(state.step_size, scalars.firstSize), factor), smallestStep, largestStep);
        const seen = where(changed, 0, gradient);
        return { parameter: sub(parameter, mul(signOf(seen), size)), state: { prev: seen, step_size: size } };
      },
    });
  },
});
