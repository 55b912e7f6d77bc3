import { add, div, mul, pow, sub, type Value } from "@loomweight/graph";
import { belowOne, boolean, nonNegative } from "@loomweight/tensor";
import { defineOptimizer } from "../define.ts";
import { square } from "../moments.ts";
import { perParameter, zerosLike } from "../per-parameter.ts";
import { coupledDecay, decoupledDecay } from "../weight-decay.ts";

/**
 * MADGRAD: dual averaging from the starting point x₀: with λ = (lr + epsilon) √t, s ← s + λ g, v ← v + λ g²,
 * z = x₀ − s / (v^⅓ + epsilon), p ← momentum p + (1 − momentum) z. Without momentum x₀ is computed back from p.
 * State: `grad_sum_sq`, `s`, with momentum `x0`. Source: Defazio and Jelassi 2022, arXiv:2101.11075, Algorithm 1, as
 * timm's MADGRAD.
 */
export const madgrad = defineOptimizer({
  name: "madgrad",
  source: "arXiv:2101.11075",
  summary: "Dual averaging with cube-root scaling and momentum.",
  learningRate: 1e-2,
  options: {
    momentum: belowOne(0.9, "share of the iterate that stays at every step"),
    epsilon: nonNegative(1e-6, "added to the learning rate and to the denominator"),
    weightDecay: nonNegative(0, "L2 penalty added to the gradient, or with `decoupled` a shrinking of the weights"),
    decoupled: boolean(false, "weight decay as in AdamW"),
  },
  build({ momentum, epsilon, weightDecay, decoupled }) {
    const denominator = (sumSq: Value) => add(pow(sumSq, 1 / 3), epsilon);
    return perParameter("madgrad", {
      init: (parameter) => ({
        grad_sum_sq: zerosLike(parameter),
        s: zerosLike(parameter),
        ...(momentum > 0 && { x0: parameter }),
      }),
      scalars: (step, learningRate) => ({
        keep: 1 - learningRate * weightDecay,
        weight: (learningRate + epsilon) * Math.sqrt(step),
      }),
      update({ gradient, parameter, state, scalars }) {
        const kept = decoupled ? decoupledDecay(parameter, scalars.keep, weightDecay) : parameter;
        const seen = decoupled ? gradient : coupledDecay(gradient, parameter, weightDecay);
        const start = momentum > 0 ? state.x0 : add(kept, div(state.s, denominator(state.grad_sum_sq)));
        const sumSq = add(state.grad_sum_sq, mul(square(seen), scalars.weight));
        const sum = add(state.s, mul(seen, scalars.weight));
        const target = sub(start, div(sum, denominator(sumSq)));
        const moved = momentum > 0 ? add(mul(kept, momentum), mul(target, 1 - momentum)) : target;
        return {
          parameter: moved,
          state: { grad_sum_sq: sumSq, s: sum, ...(momentum > 0 && { x0: start }) },
        };
      },
    });
  },
});
