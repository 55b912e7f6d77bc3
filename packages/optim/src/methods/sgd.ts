import { mul, sub } from "@loomweight/graph";
import { belowOne, boolean, nonNegative, unitInterval } from "@loomweight/tensor";
import { defineOptimizer } from "../define.ts";
import { invalidCombination } from "../invalid-combination.ts";
import { heavyBall, initBuffer, momentumScalars } from "../momentum.ts";
import { perParameter } from "../per-parameter.ts";
import { coupledDecay } from "../weight-decay.ts";

/**
 * SGD, with momentum and Nesterov's form: g ← g + weightDecay · p; b ← momentum · b + (1 − dampening) · g (the first b
 * is g itself); p ← p − lr · b, with Nesterov p − lr · (g + momentum · b).
 * State: `momentum_buffer`, where momentum is above 0. Source: torch.optim.SGD; Sutskever et al. 2013.
 */
export const sgd = defineOptimizer({
  name: "sgd",
  source: "torch.optim.SGD",
  summary: "Steps along the gradient, with momentum or Nesterov's momentum.",
  learningRate: 1e-3,
  options: {
    momentum: belowOne(0, "share of the buffer that stays at every step; 0 keeps no buffer"),
    dampening: unitInterval(0, "share of the gradient left out of the buffer, from the second step on"),
    nesterov: boolean(false, "looks one momentum step ahead"),
    weightDecay: nonNegative(0, "L2 penalty, added to the gradient"),
  },
  build({ momentum, dampening, nesterov, weightDecay }) {
    if (nesterov && (momentum === 0 || dampening !== 0)) {
      throw invalidCombination("sgd.nesterov", "momentum above 0 and dampening 0", { momentum, dampening });
    }
    return perParameter("sgd", {
      init: (parameter) => initBuffer(parameter, momentum),
      scalars: (step, learningRate) => ({ learningRate, ...momentumScalars(step, { momentum, dampening }) }),
      update({ gradient, parameter, state, scalars }) {
        const decayed = coupledDecay(gradient, parameter, weightDecay);
        const { direction, state: buffer } = heavyBall(decayed, state, scalars, { buffered: momentum > 0, nesterov });
        return { parameter: sub(parameter, mul(direction, scalars.learningRate)), state: buffer };
      },
    });
  },
});
