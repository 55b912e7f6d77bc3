import { add, div, max, mul, sqrt, type Value } from "@loomweight/graph";
import type { Tensor } from "@loomweight/tensor";
import { zerosLike } from "./per-parameter.ts";

/** beta · previous + (1 − beta) · value */
export function movingAverage(previous: Value, value: Value, beta: number): Value {
  return add(mul(previous, beta), mul(value, 1 - beta));
}

/** x · x */
export function square(x: Value): Value {
  return mul(x, x);
}

/** The two moments of Adam before the first step, named as torch names them. */
export function initMoments(parameter: Tensor): { exp_avg: Tensor; exp_avg_sq: Tensor } {
  return { exp_avg: zerosLike(parameter), exp_avg_sq: zerosLike(parameter) };
}

/** Moving averages of the gradient and of its square, zero at the start and so biased towards it. */
export function updateMoments(
  state: Readonly<Record<string, Value>>,
  gradient: Value,
  { beta1, beta2 }: { readonly beta1: number; readonly beta2: number },
): { exp_avg: Value; exp_avg_sq: Value } {
  return {
    exp_avg: movingAverage(state.exp_avg, gradient, beta1),
    exp_avg_sq: movingAverage(state.exp_avg_sq, square(gradient), beta2),
  };
}

/** 1 − betaᵗ: what a moving average that started at zero is divided by. */
export function biasCorrection(beta: number, step: number): number {
  return 1 - beta ** step;
}

/** √v / √(1 − beta2ᵗ) + epsilon: epsilon after the bias correction, as torch; `root` is √(1 − beta2ᵗ). */
export function adamDenominator(expAvgSq: Value, root: Value, epsilon: number): Value {
  return add(div(sqrt(expAvgSq), root), epsilon);
}

/** AMSGrad: the largest second moment so far, not corrected for bias. */
export function largestMoment(previous: Value, expAvgSq: Value): Value {
  return max(previous, expAvgSq);
}
