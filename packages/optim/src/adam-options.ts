import { belowOne, nonNegative } from "@loomweight/tensor";

/** Options that the family of Adam shares; the defaults are Adam's. */
export function adamOptions(defaults: { beta1?: number; beta2?: number; epsilon?: number } = {}) {
  const { beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8 } = defaults;
  return {
    beta1: belowOne(beta1, "decay rate of the average of gradients"),
    beta2: belowOne(beta2, "decay rate of the average of squared gradients"),
    epsilon: nonNegative(epsilon, "added to the denominator"),
  };
}
