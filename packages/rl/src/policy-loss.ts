import {
  abs,
  add,
  and,
  cast,
  clip,
  div,
  exp,
  gatherElements,
  greater,
  less,
  logSoftmax,
  max,
  min,
  mul,
  neg,
  reduceMean,
  reduceSum,
  squeeze,
  sub,
  unsqueeze,
  type Value,
  where,
} from "@loomweight/graph";
import { invalidOption, unknownName } from "@loomweight/tensor";

/** log π(action) of each token: logits [N, T, actions], actions int32 or int64 [N, T] → [N, T], in the logits' dtype. */
export function tokenLogProbabilities(logits: Value, actions: Value): Value {
  return squeeze(gatherElements(logSoftmax(logits, -1), unsqueeze(actions, [-1]), 2), [2]);
}

/**
 * How losses of tokens become one number: over all tokens ("token-mean"); sums of the tokens of each response, averaged
 * over responses ("seq-mean-token-sum"); means, averaged ("seq-mean-token-mean"); the sum of all over the length T
 * ("seq-mean-token-sum-norm", Dr.GRPO's).
 */
export type Aggregation = (typeof aggregations)[number];
export const aggregations = [
  "token-mean",
  "seq-mean-token-sum",
  "seq-mean-token-mean",
  "seq-mean-token-sum-norm",
] as const;

/** One number from losses [N, T] of the tokens that the mask [N, T] (a float of the same dtype) has. */
export function aggregate(losses: Value, mask: Value, aggregation: Aggregation = "token-mean"): Value {
  const masked = mul(losses, mask);
  switch (aggregation) {
    case "token-mean":
      return div(total(masked), add(total(mask), 1e-8));
    case "seq-mean-token-sum":
      return reduceMean(reduceSum(masked, [1], false), undefined, false);
    case "seq-mean-token-mean":
      return reduceMean(div(reduceSum(masked, [1], false), reduceSum(mask, [1], false)), undefined, false);
    case "seq-mean-token-sum-norm":
      return div(total(masked), Number(losses.shape[1]));
    default:
      throw unknownName({
        kind: "aggregation",
        name: String(aggregation),
        known: aggregations,
        code: "INVALID_OPTION",
        option: "aggregation",
      });
  }
}

export interface PolicyLossOptions {
  /** The ratio counts down to 1 − clipLow; default 0.2. */
  readonly clipLow?: number;
  /** … and up to 1 + clipHigh; default `clipLow`. */
  readonly clipHigh?: number;
  /** Largest loss per unit of a negative advantage; default 3, above 1. */
  readonly dualClip?: number;
  readonly aggregation?: Aggregation;
}

export interface PolicyLossCall {
  /** log π of the actions taken [N, T]; the gradient flows through it alone. */
  readonly logp: Value;
  /** The same under the policy that took them. */
  readonly oldLogp: Value;
  readonly advantage: Value;
  /** 1 for tokens of the response, in the dtype of `logp`. */
  readonly mask: Value;
}

/** What is known of a loss beside it: shares of tokens at which a clip acted, and mean(log π_old − log π). */
export interface PolicyLoss {
  readonly loss: Value;
  readonly clipFraction: Value;
  readonly dualClipFraction: Value;
  readonly approximateKl: Value;
}

/**
 * PPO's clipped loss with the dual clip: with r = exp(logp − oldLogp), L = max(−A r, −A clip(r, 1 − clipLow,
 * 1 + clipHigh)); where A < 0, min(L, −A · dualClip). Keep log-probabilities in float32: r overflows float16 beyond 11.
 * Sources: Schulman et al. 2017, arXiv:1707.06347; Ye et al. 2020, arXiv:1912.09729.
 */
export function policyLoss(call: PolicyLossCall, options: PolicyLossOptions = {}): PolicyLoss {
  const { logp, oldLogp, advantage, mask } = call;
  const { clipLow = 0.2, clipHigh = clipLow, dualClip = 3, aggregation } = options;
  if (!(clipLow >= 0)) throw invalidOption({ option: "clipLow" }, clipLow, "x >= 0");
  if (!(clipHigh >= 0)) throw invalidOption({ option: "clipHigh" }, clipHigh, "x >= 0");
  if (!(dualClip > 1)) throw invalidOption({ option: "dualClip" }, dualClip, "x > 1");
  const change = sub(logp, oldLogp);
  const ratio = exp(change);
  const against = neg(advantage);
  const plain = mul(against, ratio);
  const clipped = mul(against, clip(ratio, 1 - clipLow, 1 + clipHigh));
  const larger = max(plain, clipped);
  const limit = mul(against, dualClip);
  const negative = less(advantage, 0);
  return {
    loss: aggregate(where(negative, min(larger, limit), larger), mask, aggregation),
    clipFraction: share(greater(clipped, plain), mask),
    dualClipFraction: share(and(greater(larger, limit), negative), mask),
    approximateKl: aggregate(neg(change), mask),
  };
}

/**
 * How far a policy is from the reference, per token: log π − log π_ref ("kl"), its magnitude ("abs"), half its square
 * ("mse"), or e^d − d − 1 with d = log π_ref − log π, within ±10 ("low_var_kl", Schulman's k3).
 */
export type KlKind = (typeof klKinds)[number];
export const klKinds = ["kl", "abs", "mse", "low_var_kl"] as const;

/** The penalty of each token [N, T] from log-probabilities [N, T]. */
export function klPenalty(logp: Value, referenceLogp: Value, kind: KlKind = "low_var_kl"): Value {
  const difference = sub(logp, referenceLogp);
  switch (kind) {
    case "kl":
      return difference;
    case "abs":
      return abs(difference);
    case "mse":
      return mul(mul(difference, difference), 0.5);
    case "low_var_kl": {
      const d = neg(difference);
      return clip(sub(sub(exp(d), d), 1), -10, 10);
    }
    default:
      throw unknownName({
        kind: "KL penalty",
        name: String(kind),
        known: klKinds,
        code: "INVALID_OPTION",
        option: "kl.kind",
      });
  }
}

const total = (x: Value): Value => reduceSum(x, undefined, false);
const share = (condition: Value, mask: Value): Value => aggregate(cast(condition, mask.dtype), mask);
