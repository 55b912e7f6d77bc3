import { fromFloat64, type Tensor, toFloat64 } from "@loomweight/tensor";
import { type AdvantageOptions, groupAdvantages, rewardsOnLastToken } from "./advantages.ts";
import type { Mixture } from "./define.ts";

/** Advantages [N, T] (float64) of rewards [N, K] mixed by a weighting: each response's reward on its last token. */
export function mixedAdvantages(rewards: Tensor, mixture: Mixture, options: AdvantageOptions): Tensor<"float64"> {
  const { weights, rewardFactor, advantageFactor } = mixture;
  const [rows, count] = rewards.shape;
  const values = toFloat64(rewards);
  const scores = Float64Array.from({ length: rows }, (_, i) => {
    let score = 0;
    for (let k = 0; k < count; k++) score += weights[k] * values[i * count + k];
    return rewardFactor * score;
  });
  const advantages = groupAdvantages(rewardsOnLastToken(scores, options.mask), options);
  if (advantageFactor === 1) return advantages;
  return fromFloat64(
    toFloat64(advantages).map((value) => advantageFactor * value),
    advantages.shape,
  );
}

/** Advantages of each objective alone, one after the other: K tensors [N, T] (float64). */
export function objectiveAdvantages(rewards: Tensor, options: AdvantageOptions): Tensor<"float64">[] {
  const count = rewards.shape[1];
  return Array.from({ length: count }, (_, objective) =>
    mixedAdvantages(
      rewards,
      {
        weights: Array.from({ length: count }, (_, k) => (k === objective ? 1 : 0)),
        rewardFactor: 1,
        advantageFactor: 1,
      },
      options,
    ),
  );
}
