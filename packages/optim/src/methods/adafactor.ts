import { div, max, mul, sub, type Value } from "@loomweight/graph";
import { belowOne, boolean, choice, integer, nonNegative, positive } from "@loomweight/tensor";
import { defineOptimizer } from "../define.ts";
import { type FactoredAxes, factoredUpdate, initFactored, largestAxes, lastAxes, leadingAxes } from "../factored.ts";
import { movingAverage } from "../moments.ts";
import { rms } from "../norms.ts";
import { perParameter, zerosLike } from "../per-parameter.ts";

/** What the three implementations take where an option is left at 0. */
const variants = {
  torch: { epsilon: 2 ** -23, size: 0, axes: (shape: readonly number[]) => lastAxes(shape) },
  timm: { epsilon: 1e-30, size: 16, axes: leadingAxes },
  optax: { epsilon: 1e-30, size: 128, axes: largestAxes },
} as const;

/**
 * Adafactor: Adam without first moment whose second moment of matrices is kept as row and column means:
 * V ← V + t^−decay (g² − V); U = g / √V, divided by max(1, rms(U) / clipThreshold); p ← p − ρ · max(scaleEpsilon, rms(p)) · U.
 * The variants differ in ρ, in where epsilon sits, in which tensors are factored and in the weight decay: see the page.
 * State: `row_var`, `col_var` or `variance`; with momentum `exp_avg`. Source: Shazeer and Stern 2018, arXiv:1804.04235, as
 * torch.optim.Adafactor, timm's Adafactor and optax.adafactor.
 */
export const adafactor = defineOptimizer({
  name: "adafactor",
  source: "arXiv:1804.04235",
  summary: "Adam with a factored second moment: memory of rows plus columns instead of their product.",
  learningRate: 1e-2,
  options: {
    variant: choice(["torch", "timm", "optax"], "torch", "whose form: see the page"),
    decay: positive(0.8, "the second moment takes up the share t^−decay of a new square"),
    epsilon: nonNegative(0, "keeps the second moment from 0; 0 takes the variant's (2^-23 or 1e-30)"),
    scaleEpsilon: nonNegative(1e-3, "lower bound of rms(p) in the step"),
    clipThreshold: nonNegative(1, "updates are scaled down to this rms; 0 does not clip"),
    momentum: belowOne(0, "decay rate of an average of updates; 0 keeps none (timm, optax)"),
    weightDecay: nonNegative(0, "share of the weight taken away: times the learning rate, in optax as it is"),
    scaleParameter: boolean(true, "steps in proportion to rms(p)"),
    relativeStep: boolean(false, "timm: a rate of min(1e-2, 1 / √t) in place of the learning rate"),
    warmupInit: boolean(false, "timm, with relativeStep: min(1e-6 t, 1 / √t)"),
    smallestFactored: integer(0, "sizes from which axes are factored; 0 takes the variant's", { min: 0 }),
  },
  build(options) {
    const { variant, decay, scaleEpsilon, clipThreshold, momentum, weightDecay } = options;
    const { relativeStep, warmupInit, scaleParameter } = options;
    const facts = variants[variant];
    const epsilon = options.epsilon || facts.epsilon;
    const guard = variant === "torch" ? { clamp: epsilon } : { add: epsilon };
    const axesOf = (shape: readonly number[]): FactoredAxes | undefined =>
      facts.axes(shape, options.smallestFactored || facts.size);
    // timm scales by rms(p) only where it chooses the rate itself.
    const scales = scaleParameter && (variant !== "timm" || relativeStep);
    return perParameter("adafactor", {
      init: (parameter) => ({
        ...initFactored(parameter, axesOf(parameter.shape)),
        ...(momentum > 0 && { exp_avg: zerosLike(parameter) }),
      }),
      scalars(step, learningRate) {
        const falling = 1 / Math.sqrt(step);
        const relative = Math.min(warmupInit ? 1e-6 * step : 1e-2, falling);
        const chosen = variant === "timm" && relativeStep ? relative : learningRate;
        return {
          share: step ** -decay,
          rate: variant === "torch" ? Math.min(learningRate, falling) : chosen,
          keep: variant === "torch" ? 1 - learningRate * weightDecay : 1 - weightDecay,
        };
      },
      update({ shape, gradient, parameter, state, scalars }) {
        const moment = factoredUpdate(state, gradient, { axes: axesOf(shape), share: scalars.share, guard });
        const clipped =
          clipThreshold > 0 ? div(moment.update, max(mul(rms(moment.update), 1 / clipThreshold), 1)) : moment.update;
        const rate = scales ? mul(max(rms(parameter), scaleEpsilon), scalars.rate) : scalars.rate;
        const step = mul(clipped, rate);
        const mean = momentum > 0 && { exp_avg: movingAverage(state.exp_avg, step, momentum) };
        const keep: Value = variant === "timm" ? sub(1, mul(rate, weightDecay)) : scalars.keep;
        return {
          parameter: sub(weightDecay > 0 ? mul(parameter, keep) : parameter, mean ? mean.exp_avg : step),
          state: { ...moment.state, ...mean },
        };
      },
    });
  },
});
