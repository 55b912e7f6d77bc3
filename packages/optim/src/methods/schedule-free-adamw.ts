import { add, div, mul } from "@loomweight/graph";
import { unitInterval } from "@loomweight/tensor";
import { adamOptions } from "../adam-options.ts";
import { defineOptimizer } from "../define.ts";
import { requireOpenBeta } from "../invalid-combination.ts";
import { adamDenominator, biasCorrection, movingAverage, square } from "../moments.ts";
import { perParameter, zerosLike } from "../per-parameter.ts";
import {
  initScheduleFree,
  scheduleFreeAverage,
  scheduleFreeOptions,
  scheduleFreeScalars,
  scheduleFreeStep,
} from "../schedule-free.ts";

/**
 * Schedule-free AdamW: in place of a falling learning rate, gradients are taken at y, between the iterate z and the
 * weighted mean x of all z; u = g / (√v̂ + epsilon) + weightDecay · y. Use a constant rate, with `warmup`. x is what
 * `averaged` gives: evaluate and save it, not the trained weights. Batch normalization needs its statistics anew at x.
 * State: `exp_avg_sq`, `z`, `weight_sum`, `lr_max`. Source: Defazio et al. 2024, arXiv:2405.15682, as
 * facebookresearch/schedule_free.
 */
export const scheduleFreeAdamw = defineOptimizer({
  name: "schedule-free-adamw",
  source: "arXiv:2405.15682",
  summary: "AdamW at a constant rate whose result is an average of its iterates.",
  learningRate: 2.5e-3,
  options: {
    ...adamOptions(),
    beta1: unitInterval(0.9, "where gradients are taken: share of the mean; above 0 and below 1"),
    ...scheduleFreeOptions,
  },
  build(options) {
    const { beta1, beta2, epsilon, weightDecay } = options;
    requireOpenBeta("schedule-free-adamw.beta1", beta1);
    const rule = perParameter("schedule-free-adamw", {
      init: (parameter) => ({ exp_avg_sq: zerosLike(parameter), ...initScheduleFree(parameter) }),
      scalars: (step, learningRate) => ({
        ...scheduleFreeScalars(step, learningRate, options),
        root: Math.sqrt(biasCorrection(beta2, step)),
      }),
      update({ gradient, parameter, state, scalars }) {
        const second = movingAverage(state.exp_avg_sq, square(gradient), beta2);
        const adaptive = div(gradient, adamDenominator(second, scalars.root, epsilon));
        const direction = weightDecay === 0 ? adaptive : add(adaptive, mul(parameter, weightDecay));
        const result = scheduleFreeStep({ parameter, direction }, state, scalars, { ...options, beta: beta1 });
        return { parameter: result.parameter, state: { exp_avg_sq: second, ...result.state } };
      },
    });
    return { ...rule, averaged: (call) => scheduleFreeAverage(beta1, call) };
  },
});
