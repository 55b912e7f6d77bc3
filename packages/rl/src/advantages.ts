import { fromFloat64, invalidOption, LoomweightError, type Tensor, toFloat64, unknownName } from "@loomweight/tensor";

/** How rewards become advantages. */
export type AdvantageEstimator = (typeof advantageEstimators)[number];
export const advantageEstimators = ["grpo", "dr-grpo", "rloo", "reinforce++", "reinforce++-baseline"] as const;

export interface AdvantageOptions {
  readonly estimator: AdvantageEstimator;
  /** Prompt of each response: N whole numbers. Responses of one prompt form a group. */
  readonly group: ArrayLike<number>;
  /** [N, T]: 1 for tokens of the response, 0 for others. */
  readonly mask: Tensor;
  /** Discount from one token to the next, for "reinforce++" alone; default 1. */
  readonly gamma?: number;
}

/**
 * Advantages [N, T] (float64) from rewards of tokens [N, T]. With s the sum of a response's rewards, μ and σ (unbiased)
 * over its group of G:
 *
 * - `grpo`: (s − μ) / (σ + 1e-6); `dr-grpo`: s − μ; `rloo`: (s − μ) · G / (G − 1). A group of one keeps its s (`grpo`
 *   divides it by 1 + 1e-6).
 * - `reinforce++`: discounted return to go, whitened over all tokens of the mask;
 *   `reinforce++-baseline`: s − μ, whitened likewise.
 *
 * Sources: Shao et al. 2024, arXiv:2402.03300; Liu et al. 2025, arXiv:2503.20783; Ahmadian et al. 2024,
 * arXiv:2402.14740; Hu 2025, arXiv:2501.03262. Throws `SHAPE_MISMATCH`, `INVALID_OPTION`, `NON_FINITE`.
 */
export function groupAdvantages(rewards: Tensor, options: AdvantageOptions): Tensor<"float64"> {
  const { estimator, group, gamma = 1 } = options;
  if (!advantageEstimators.includes(estimator)) {
    throw unknownName({
      kind: "estimator of advantages",
      name: String(estimator),
      known: advantageEstimators,
      code: "INVALID_OPTION",
      option: "estimator",
    });
  }
  if (!(gamma >= 0 && gamma <= 1)) throw invalidOption({ option: "gamma" }, gamma, "0 <= x <= 1");
  const [rows, length] = sizes(rewards, options.mask, group);
  const values = toFloat64(rewards);
  const mask = toFloat64(options.mask);
  const bad = values.findIndex((value) => !Number.isFinite(value));
  if (bad >= 0) {
    throw new LoomweightError({
      code: "NON_FINITE",
      problem: `the reward of response ${Math.floor(bad / length)} at token ${bad % length} is ${values[bad]}`,
      expected: "finite rewards",
    });
  }
  if (estimator === "reinforce++") return tensorOf(whiten(returnsToGo(values, mask, length, gamma), mask));
  const scores = Float64Array.from({ length: rows }, (_, i) =>
    values.subarray(i * length, (i + 1) * length).reduce((sum, value) => sum + value, 0),
  );
  const centred = baselined(scores, group, estimator);
  const spread = mask.map((each, at) => each * centred[Math.floor(at / length)]);
  return tensorOf(estimator === "reinforce++-baseline" ? whiten(spread, mask) : spread);

  function tensorOf(data: Float64Array): Tensor<"float64"> {
    return fromFloat64(data, [rows, length]);
  }
}

/** Rewards of responses [N] on the last token of each: [N, T], zeros elsewhere. A response without tokens gets none. */
export function rewardsOnLastToken(scores: ArrayLike<number>, mask: Tensor): Tensor<"float64"> {
  const [rows, length] = mask.shape;
  if (mask.shape.length !== 2 || rows !== scores.length) throw mismatch("scores", [scores.length], mask.shape);
  const tokens = toFloat64(mask);
  const rewards = new Float64Array(rows * length);
  for (let i = 0; i < rows; i++) {
    const last = tokens.subarray(i * length, (i + 1) * length).lastIndexOf(1);
    if (last >= 0) rewards[i * length + last] = scores[i];
  }
  return fromFloat64(rewards, [rows, length]);
}

/** Scores against the mean of their group, scaled as the estimator wants. */
function baselined(scores: Float64Array, group: ArrayLike<number>, estimator: AdvantageEstimator): Float64Array {
  const members = new Map<number, number[]>();
  for (let i = 0; i < scores.length; i++) {
    const found = members.get(group[i]);
    if (found === undefined) members.set(group[i], [i]);
    else found.push(i);
  }
  const result = new Float64Array(scores.length);
  for (const indices of members.values()) {
    const count = indices.length;
    const mean = count === 1 ? 0 : indices.reduce((sum, i) => sum + scores[i], 0) / count;
    const squares = indices.reduce((sum, i) => sum + (scores[i] - mean) ** 2, 0);
    const deviation = count === 1 ? 1 : Math.sqrt(squares / (count - 1));
    const factor =
      estimator === "grpo" ? 1 / (deviation + 1e-6) : estimator === "rloo" && count > 1 ? count / (count - 1) : 1;
    for (const i of indices) result[i] = (scores[i] - mean) * factor;
  }
  return result;
}

/** Σ γ^(k−t) r_k from each token on; nothing flows over tokens outside the mask. */
function returnsToGo(rewards: Float64Array, mask: Float64Array, length: number, gamma: number): Float64Array {
  const returns = new Float64Array(rewards.length);
  for (let end = rewards.length; end > 0; end -= length) {
    let running = 0;
    for (let at = end - 1; at >= end - length; at--) {
      running = rewards[at] + gamma * running;
      returns[at] = running;
      running *= mask[at];
    }
  }
  return returns;
}

/** (x − mean) / √(variance + 1e-8) over the mask, 0 outside; the mean divides by count + 1e-8, the variance is unbiased. */
function whiten(x: Float64Array, mask: Float64Array): Float64Array {
  const count = mask.reduce((sum, each) => sum + each, 0);
  const masked = (f: (value: number) => number) =>
    x.reduce((sum, value, at) => sum + (mask[at] === 0 ? 0 : f(value) * mask[at]), 0) / (count + 1e-8);
  const mean = masked((value) => value);
  const variance = (masked((value) => (value - mean) ** 2) * count) / Math.max(count - 1, 1);
  const scale = 1 / Math.sqrt(variance + 1e-8);
  return x.map((value, at) => (value - mean) * scale * mask[at]);
}

function sizes(rewards: Tensor, mask: Tensor, group: ArrayLike<number>): readonly [number, number] {
  if (rewards.shape.length !== 2) throw mismatch("rewards", rewards.shape, mask.shape);
  if (mask.shape.length !== 2 || mask.shape.some((size, axis) => size !== rewards.shape[axis])) {
    throw mismatch("rewards", rewards.shape, mask.shape);
  }
  if (group.length !== rewards.shape[0]) throw mismatch("group", [group.length], mask.shape);
  return [rewards.shape[0], rewards.shape[1]];
}

function mismatch(what: string, found: readonly number[], mask: readonly number[]): LoomweightError {
  return new LoomweightError({
    code: "SHAPE_MISMATCH",
    problem: `${what} [${found}] do not belong to a mask [${mask}]`,
    expected: "rewards [N, T], a group of N numbers and a mask [N, T]",
  });
}
