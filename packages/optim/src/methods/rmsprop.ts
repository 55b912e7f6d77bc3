import { add, div, mul, sqrt, sub, type Value } from "@loomweight/graph";
import { belowOne, boolean, choice, full, nonNegative, type Tensor } from "@loomweight/tensor";
import { defineOptimizer } from "../define.ts";
import { movingAverage, square } from "../moments.ts";
import { perParameter, zerosLike } from "../per-parameter.ts";
import { coupledDecay } from "../weight-decay.ts";

/**
 * RMSprop: v ← alpha v + (1 − alpha) g²; p ← p − lr g / (√v + epsilon). Centered subtracts the squared average gradient
 * from v. With momentum b ← momentum b + g / (√v + epsilon); p ← p − lr b. No bias correction; decay is coupled.
 * Variant `tensorflow`: v starts at 1, epsilon is under the root, lr is inside the buffer.
 * State: `square_avg`, centered `grad_avg`, with momentum `momentum_buffer`. Source: Tieleman and Hinton 2012 (lecture
 * 6.5), as torch.optim.RMSprop and timm's RMSpropTF.
 */
export const rmsprop = defineOptimizer({
  name: "rmsprop",
  source: "torch.optim.RMSprop",
  summary: "Divides the gradient by the root of an average of its squares.",
  learningRate: 1e-2,
  options: {
    alpha: belowOne(0.99, "decay rate of the average of squared gradients"),
    epsilon: nonNegative(1e-8, "added to the denominator"),
    momentum: belowOne(0, "share of the buffer that stays at every step; 0 keeps no buffer"),
    centered: boolean(false, "divides by the variance instead of the second moment"),
    weightDecay: nonNegative(0, "L2 penalty, added to the gradient"),
    variant: choice(["torch", "tensorflow"], "torch", "whose form: see the page"),
  },
  build({ alpha, epsilon, momentum, centered, weightDecay, variant }) {
    const tensorflow = variant === "tensorflow";
    const denominatorOf = (variance: Value) =>
      tensorflow ? sqrt(add(variance, epsilon)) : add(sqrt(variance), epsilon);
    return perParameter("rmsprop", {
      init: (parameter): Record<string, Tensor> => ({
        square_avg: tensorflow ? full(parameter.shape, 1, parameter.dtype) : zerosLike(parameter),
        ...(centered && { grad_avg: zerosLike(parameter) }),
        ...(momentum > 0 && { momentum_buffer: zerosLike(parameter) }),
      }),
      scalars: (_, learningRate) => ({ learningRate }),
      update({ gradient, parameter, state, scalars }) {
        const decayed = coupledDecay(gradient, parameter, weightDecay);
        const second = movingAverage(state.square_avg, square(decayed), alpha);
        const mean = centered && { grad_avg: movingAverage(state.grad_avg, decayed, alpha) };
        const ratio = div(decayed, denominatorOf(mean ? sub(second, square(mean.grad_avg)) : second));
        const moments = { square_avg: second, ...mean };
        if (momentum === 0) return { parameter: sub(parameter, mul(ratio, scalars.learningRate)), state: moments };
        const inside = tensorflow ? mul(ratio, scalars.learningRate) : ratio;
        const buffer = add(mul(state.momentum_buffer, momentum), inside);
        return {
          parameter: sub(parameter, tensorflow ? buffer : mul(buffer, scalars.learningRate)),
          state: { ...moments, momentum_buffer: buffer },
        };
      },
    });
  },
});
