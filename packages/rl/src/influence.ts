import { LoomweightError } from "@loomweight/tensor";

/** Row sums [K] of a Gram matrix [K, K]: ⟨g_k, Σ_j g_j⟩. Throws `SHAPE_MISMATCH`, `NON_FINITE`. */
export function influence(gram: ArrayLike<number>, count: number): Float64Array {
  if (gram.length !== count * count) {
    throw new LoomweightError({
      code: "SHAPE_MISMATCH",
      problem: `the inner products of ${count} gradients are ${count * count} numbers`,
      expected: String(count * count),
      found: String(gram.length),
    });
  }
  const sums = new Float64Array(count);
  for (let k = 0; k < count; k++) {
    for (let j = 0; j < count; j++) sums[k] += gram[k * count + j];
    if (Number.isFinite(sums[k])) continue;
    throw new LoomweightError({
      code: "NON_FINITE",
      problem: `the gradient of objective ${k} is not finite`,
      found: String(sums[k]),
      fix: "Clip the objectives' gradients, or look at the rewards.",
    });
  }
  return sums;
}

export interface UpdateWeightsOptions {
  readonly learningRate: number;
  readonly mu: number;
  /** Weights become (1 − K · minWeight) w + minWeight; default 0. */
  readonly minWeight?: number;
}

/** w_k · exp(learningRate / mu · influence_k), brought back to the simplex. */
export function updateWeights(
  weights: readonly number[],
  influences: ArrayLike<number>,
  { learningRate, mu, minWeight = 0 }: UpdateWeightsOptions,
): number[] {
  const logits = weights.map((weight, k) => Math.log(weight) + (learningRate / mu) * influences[k]);
  const largest = Math.max(...logits);
  const factors = logits.map((logit) => Math.exp(logit - largest));
  const sum = factors.reduce((total, factor) => total + factor, 0);
  const share = 1 - weights.length * minWeight;
  return factors.map((factor) => share * (factor / sum) + minWeight);
}
