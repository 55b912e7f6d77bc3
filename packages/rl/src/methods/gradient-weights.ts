import { belowOne, integer, LoomweightError, positive } from "@loomweight/tensor";
import { defineRewardWeighting } from "../define.ts";
import { influence, updateWeights } from "../influence.ts";

export type GradientWeightsState = {
  readonly weights: readonly number[];
  /** Influences summed since the weights last changed. */
  readonly accumulated: readonly number[];
  readonly count: number;
};

/**
 * Gradient-based weighting: log w ← log w + lr / mu · influence, brought back to the simplex, with the influence of an
 * objective being the sum of its gradient's inner products with those of all objectives, its own included. Mirror
 * descent that maximises the first-order progress of the unweighted sum; as the learning rate decays the weights freeze.
 * Source: Lu et al. 2025, arXiv:2509.11452, §4.2.
 * Differs: `minWeight` can keep weights from vanishing (0: as published).
 */
export const gradientWeights = defineRewardWeighting({
  name: "gradient-weights",
  source: "arXiv:2509.11452",
  summary: "Gives weight to the rewards whose gradients agree with those of all: exponentiated steps on the simplex.",
  options: {
    mu: positive(1e-5, "pull towards the present weights: a step is learning rate / mu"),
    accumulationSteps: integer(1, "steps whose influences are averaged for one change", { min: 1 }),
    minWeight: belowOne(0, "least weight, below 1 / K"),
  },
  needs: ["gradients"],
  init({ weights }, { minWeight }): GradientWeightsState {
    if (weights.some((weight) => weight === 0)) {
      throw new LoomweightError({
        code: "INVALID_OPTION",
        option: "gradient-weights.weights",
        problem: "a weight of 0 stays 0: its logarithm does not exist",
        expected: "weights above 0",
        found: `[${weights.join(", ")}]`,
      });
    }
    if (minWeight * weights.length >= 1) {
      throw new LoomweightError({
        code: "INVALID_OPTION",
        option: "gradient-weights.minWeight",
        problem: `${weights.length} weights of at least ${minWeight} sum to more than 1`,
        expected: `below ${1 / weights.length}`,
        found: String(minWeight),
      });
    }
    return { weights: [...weights], accumulated: weights.map(() => 0), count: 0 };
  },
  observe({ weights, accumulated, count }, { gram, learningRate }, { mu, accumulationSteps, minWeight }) {
    if (gram === undefined) {
      throw new LoomweightError({
        code: "MISSING_OPTION",
        option: "gram",
        problem: "gradient-weights compares the gradients of the objectives",
        expected: "their inner products [K, K]",
        found: "nothing",
      });
    }
    const own = influence(gram, weights.length);
    const sum = accumulated.map((value, k) => value + own[k]);
    if (count + 1 < accumulationSteps) return { weights, accumulated: sum, count: count + 1 };
    const mean = sum.map((value) => value / accumulationSteps);
    return {
      weights: updateWeights(weights, mean, { learningRate, mu, minWeight }),
      accumulated: weights.map(() => 0),
      count: 0,
    };
  },
  mix: ({ weights }) => ({ weights, rewardFactor: 1, advantageFactor: 1 }),
});
