import { add, div, mul, sqrt, sub } from "@loomweight/graph";
import { belowOne, nonNegative } from "@loomweight/tensor";
import { defineOptimizer } from "../define.ts";
import { movingAverage, square } from "../moments.ts";
import { perParameter, zerosLike } from "../per-parameter.ts";
import { coupledDecay } from "../weight-decay.ts";

/**
 * Adadelta: v ← rho v + (1 − rho) g²; d = √(u + epsilon) / √(v + epsilon) · g; u ← rho u + (1 − rho) d²; p ← p − lr d.
 * Weight decay is coupled. State: `square_avg` (v), `acc_delta` (u). Source: Zeiler 2012, arXiv:1212.5701, as
 * torch.optim.Adadelta.
 */
export const adadelta = defineOptimizer({
  name: "adadelta",
  source: "arXiv:1212.5701",
  summary: "Scales steps by the ratio of past steps to past gradients.",
  learningRate: 1,
  options: {
    rho: belowOne(0.9, "decay rate of both averages"),
    epsilon: nonNegative(1e-6, "added under both roots"),
    weightDecay: nonNegative(0, "L2 penalty, added to the gradient"),
  },
  build: ({ rho, epsilon, weightDecay }) =>
    perParameter("adadelta", {
      init: (parameter) => ({ square_avg: zerosLike(parameter), acc_delta: zerosLike(parameter) }),
      scalars: (_, learningRate) => ({ learningRate }),
      update({ gradient, parameter, state, scalars }) {
        const decayed = coupledDecay(gradient, parameter, weightDecay);
        const second = movingAverage(state.square_avg, square(decayed), rho);
        const delta = mul(div(sqrt(add(state.acc_delta, epsilon)), sqrt(add(second, epsilon))), decayed);
        return {
          parameter: sub(parameter, mul(delta, scalars.learningRate)),
          state: { square_avg: second, acc_delta: movingAverage(state.acc_delta, square(delta), rho) },
        };
      },
    }),
});
