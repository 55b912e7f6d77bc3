import { unitInterval } from "@loomweight/tensor";
import { defineOptimizer } from "../define.ts";
import { requireOpenBeta } from "../invalid-combination.ts";
import { perParameter } from "../per-parameter.ts";
import {
  initScheduleFree,
  scheduleFreeAverage,
  scheduleFreeOptions,
  scheduleFreeScalars,
  scheduleFreeStep,
} from "../schedule-free.ts";
import { coupledDecay } from "../weight-decay.ts";

/**
 * Schedule-free SGD: gradients are taken at y, between the iterate z and the weighted mean x of all z; z steps along
 * g + weightDecay · y. Use a constant rate, larger than SGD's. x is what `averaged` gives: evaluate and save it.
 * State: `z`, `weight_sum`, `lr_max`. Source: Defazio et al. 2024, arXiv:2405.15682, Algorithm 1, as
 * facebookresearch/schedule_free.
 */
export const scheduleFreeSgd = defineOptimizer({
  name: "schedule-free-sgd",
  source: "arXiv:2405.15682",
  summary: "SGD at a constant rate whose result is an average of its iterates.",
  learningRate: 1,
  options: {
    momentum: unitInterval(0.9, "where gradients are taken: share of the mean; above 0 and below 1"),
    ...scheduleFreeOptions,
  },
  build(options) {
    const { momentum, weightDecay } = options;
    requireOpenBeta("schedule-free-sgd.momentum", momentum);
    const rule = perParameter("schedule-free-sgd", {
      init: initScheduleFree,
      scalars: (step, learningRate) => scheduleFreeScalars(step, learningRate, options),
      update({ gradient, parameter, state, scalars }) {
        const direction = coupledDecay(gradient, parameter, weightDecay);
        return scheduleFreeStep({ parameter, direction }, state, scalars, { ...options, beta: momentum });
      },
    });
    return { ...rule, averaged: (call) => scheduleFreeAverage(momentum, call) };
  },
});
