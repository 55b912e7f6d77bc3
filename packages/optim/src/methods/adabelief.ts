import { add, div, mul, sqrt, sub } from "@loomweight/graph";
import { boolean, nonNegative } from "@loomweight/tensor";
import { adamOptions } from "../adam-options.ts";
import { defineOptimizer } from "../define.ts";
import { biasCorrection, movingAverage, square } from "../moments.ts";
import { perParameter, zerosLike } from "../per-parameter.ts";
import { averageLength, rectification } from "../rectification.ts";
import { coupledDecay, decoupledDecay } from "../weight-decay.ts";

/**
 * AdaBelief: Adam that divides by the deviation of the gradient from its average, v ← beta2 v + (1 − beta2) (g − m)² +
 * epsilon; p ← p − lr m̂ / (√v̂ + epsilon). `rectify` scales first steps as RAdam does (from ρₜ ≥ 5 on).
 * State: `exp_avg`, `exp_avg_var`. Source: Zhuang et al. 2020, arXiv:2010.07468, as timm's AdaBelief.
 */
export const adabelief = defineOptimizer({
  name: "adabelief",
  source: "arXiv:2010.07468",
  summary: "Adam that takes larger steps where gradients are as expected.",
  learningRate: 1e-3,
  options: {
    ...adamOptions({ epsilon: 1e-16 }),
    weightDecay: nonNegative(0, "share of the weight taken away, times the learning rate"),
    decoupled: boolean(true, "false: an L2 penalty added to the gradient"),
    rectify: boolean(true, "corrects the variance of the first steps as RAdam does"),
  },
  build({ beta1, beta2, epsilon, weightDecay, decoupled, rectify }) {
    return perParameter("adabelief", {
      init: (parameter) => ({ exp_avg: zerosLike(parameter), exp_avg_var: zerosLike(parameter) }),
      scalars(step, learningRate) {
        const stepSize = learningRate / biasCorrection(beta1, step);
        const root = Math.sqrt(biasCorrection(beta2, step));
        const keep = 1 - learningRate * weightDecay;
        if (!rectify) return { keep, root, plainStep: 0, adaptiveStep: stepSize };
        const adaptive = averageLength(beta2, step) >= 5;
        return {
          keep,
          root: 1, // the authors' rectified form leaves epsilon before the bias correction
          plainStep: adaptive ? 0 : stepSize,
          adaptiveStep: adaptive ? stepSize * root * rectification(beta2, step) : 0,
        };
      },
      update({ gradient, parameter, state, scalars }) {
        const kept = decoupled ? decoupledDecay(parameter, scalars.keep, weightDecay) : parameter;
        const seen = decoupled ? gradient : coupledDecay(gradient, parameter, weightDecay);
        const mean = movingAverage(state.exp_avg, seen, beta1);
        const variance = add(movingAverage(state.exp_avg_var, square(sub(seen, mean)), beta2), epsilon);
        const denominator = add(div(sqrt(variance), scalars.root), epsilon);
        const scale = add(div(scalars.adaptiveStep, denominator), scalars.plainStep);
        return {
          parameter: sub(kept, mul(mean, scale)),
          state: { exp_avg: mean, exp_avg_var: variance },
        };
      },
    });
  },
});
