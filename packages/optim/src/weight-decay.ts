import { add, mul, type Value } from "@loomweight/graph";

/** L2 regularization: the gradient of weightDecay / 2 · |p|² is added to the gradient; the optimizer then rescales it. */
export function coupledDecay(gradient: Value, parameter: Value, weightDecay: number): Value {
  return weightDecay === 0 ? gradient : add(gradient, mul(parameter, weightDecay));
}

/**
 * Decoupled decay (Loshchilov and Hutter, arXiv:1711.05101): the parameter itself shrinks; `keep` is the scalar
 * 1 − learningRate · weightDecay of the step.
 */
export function decoupledDecay(parameter: Value, keep: Value, weightDecay: number): Value {
  return weightDecay === 0 ? parameter : mul(parameter, keep);
}
