import { add, div, min, mul, sub, type Value } from "@loomweight/graph";
import { belowOne, boolean, nonNegative, positive, unitInterval } from "@loomweight/tensor";
import { defineOptimizer } from "../define.ts";
import { invalidCombination } from "../invalid-combination.ts";
import { heavyBall, initBuffer, momentumScalars } from "../momentum.ts";
import { norm } from "../norms.ts";
import { perParameter } from "../per-parameter.ts";
import { ratioOrOne } from "../trust-ratio.ts";
import { coupledDecay } from "../weight-decay.ts";

/**
 * LARS: SGD with momentum on gradients scaled per tensor: g ← λ (g + weightDecay · p),
 * λ = trustCoefficient · |p| / (|g| + weightDecay · |p| + epsilon). Tensors without weight decay step by plain SGD
 * unless `alwaysAdapt`. `trustClip` is LARC: λ / lr at most 1.
 * State: `momentum_buffer`, where momentum is above 0. Source: You et al. 2017, arXiv:1708.03888, as timm's Lars.
 */
export const lars = defineOptimizer({
  name: "lars",
  source: "arXiv:1708.03888",
  summary: "SGD with momentum whose gradients are scaled to each tensor's norm, for large batches.",
  learningRate: 1,
  options: {
    momentum: belowOne(0, "share of the buffer that stays at every step; 0 keeps no buffer"),
    dampening: unitInterval(0, "share of the gradient left out of the buffer, from the second step on"),
    nesterov: boolean(false, "looks one momentum step ahead"),
    weightDecay: nonNegative(0, "L2 penalty, added to the gradient before it is scaled"),
    trustCoefficient: positive(1e-3, "step as a share of the tensor's norm"),
    epsilon: nonNegative(1e-8, "added to the denominator of the ratio"),
    trustClip: boolean(false, "never enlarges a gradient beyond the learning rate (LARC)"),
    alwaysAdapt: boolean(false, "scales tensors without weight decay too"),
  },
  build({ momentum, dampening, nesterov, weightDecay, trustCoefficient, epsilon, trustClip, alwaysAdapt }) {
    if (nesterov && (momentum === 0 || dampening !== 0)) {
      throw invalidCombination("lars.nesterov", "momentum above 0 and dampening 0", { momentum, dampening });
    }
    const scaled = (gradient: Value, parameter: Value, learningRate: Value) => {
      if (weightDecay === 0 && !alwaysAdapt) return gradient;
      const [weight, slope] = [norm(parameter), norm(gradient)];
      const quotient = div(mul(weight, trustCoefficient), add(add(slope, mul(weight, weightDecay)), epsilon));
      const ratio = ratioOrOne(weight, slope, quotient);
      return mul(coupledDecay(gradient, parameter, weightDecay), trustClip ? min(div(ratio, learningRate), 1) : ratio);
    };
    return perParameter("lars", {
      init: (parameter) => initBuffer(parameter, momentum),
      scalars: (step, learningRate) => ({ learningRate, ...momentumScalars(step, { momentum, dampening }) }),
      update({ gradient, parameter, state, scalars }) {
        const own = scaled(gradient, parameter, scalars.learningRate);
        const { direction, state: buffer } = heavyBall(own, state, scalars, { buffered: momentum > 0, nesterov });
        return { parameter: sub(parameter, mul(direction, scalars.learningRate)), state: buffer };
      },
    });
  },
});
