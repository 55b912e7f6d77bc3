import { add, div, mul, sqrt, sub } from "@loomweight/graph";
import { full, nonNegative } from "@loomweight/tensor";
import { defineOptimizer } from "../define.ts";
import { square } from "../moments.ts";
import { perParameter } from "../per-parameter.ts";
import { coupledDecay } from "../weight-decay.ts";

/**
 * Adagrad: h ← h + g²; p ← p − lr / (1 + (t − 1) · learningRateDecay) · g / (√h + epsilon). Weight decay is coupled.
 * State: `sum`, which starts at `initialAccumulator`. Source: Duchi et al. 2011 (JMLR 12), as torch.optim.Adagrad.
 */
export const adagrad = defineOptimizer({
  name: "adagrad",
  source: "torch.optim.Adagrad",
  summary: "Divides the gradient by the root of the sum of all its squares so far.",
  learningRate: 1e-2,
  options: {
    learningRateDecay: nonNegative(0, "how fast the learning rate falls with the step"),
    initialAccumulator: nonNegative(0, "value the sums start from"),
    epsilon: nonNegative(1e-10, "added to the denominator"),
    weightDecay: nonNegative(0, "L2 penalty, added to the gradient"),
  },
  build: ({ learningRateDecay, initialAccumulator, epsilon, weightDecay }) =>
    perParameter("adagrad", {
      init: ({ shape, dtype }) => ({ sum: full(shape, initialAccumulator, dtype) }),
      scalars: (step, learningRate) => ({ stepSize: learningRate / (1 + (step - 1) * learningRateDecay) }),
      update({ gradient, parameter, state, scalars }) {
        const decayed = coupledDecay(gradient, parameter, weightDecay);
        const sum = add(state.sum, square(decayed));
        const ratio = div(decayed, add(sqrt(sum), epsilon));
        return { parameter: sub(parameter, mul(ratio, scalars.stepSize)), state: { sum } };
      },
    }),
});
