import { divideBy, elementwise, type LazyTensor, weightedSum } from "./lazy/lazy-tensor.ts";

/** A divisor closer to zero than this counts as cancelled and divides by 1 instead. */
const cancelled = 1e-8;

/** A sparsified task vector and the weight it takes part with. */
export interface WeightedTaskVector {
  readonly taskVector: LazyTensor;
  readonly weight: number;
}

/** Σ wᵢ τᵢ, divided by Σ wᵢ when `normalize` (unless the weights cancel: |Σ wᵢ| < 1e-8). */
export function weightedMean(terms: readonly WeightedTaskVector[], normalize: boolean): LazyTensor {
  const sum = weightedSum(terms.map(({ taskVector, weight }) => ({ tensor: taskVector, weight })));
  if (!normalize) return sum;
  const total = terms.reduce((all, { weight }) => all + weight, 0);
  return Math.abs(total) < cancelled ? sum : divideBy(sum, total);
}

/**
 * Per entry: the sign of Σ wᵢ τᵢ is elected (a sum of zero counts as +); entries whose wᵢ τᵢ has that sign are summed,
 * and divided by the sum of their weights when `normalize` (1 where none agrees or where their weights cancel).
 * With equal weights this is the disjoint mean of TIES. Yadav et al. 2023, arXiv:2306.01708, Algorithm 1.
 */
export function signConsensusMean(terms: readonly WeightedTaskVector[], normalize: boolean): LazyTensor {
  const weights = terms.map(({ weight }) => weight);
  return elementwise(
    terms.map(({ taskVector }) => taskVector),
    (kernels, out, inputs) => {
      const isBad = kernels.weightedConsensus(out, inputs, weights, normalize, cancelled);
      if (isBad) for (const [index, input] of inputs.entries()) spreadNonFinite(out, input, weights[index]);
    },
  );
}

/** NaN agrees with no sign and would vanish: it is put into the result, where it is noticed. */
function spreadNonFinite(out: Float64Array, input: Float64Array, weight: number): void {
  for (let i = 0; i < out.length; i++) if (!Number.isFinite(input[i] * weight)) out[i] += input[i] * weight;
}
