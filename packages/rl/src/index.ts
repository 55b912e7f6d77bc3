export {
  type AdvantageEstimator,
  type AdvantageOptions,
  advantageEstimators,
  groupAdvantages,
  rewardsOnLastToken,
} from "./advantages.ts";
export * from "./define.ts";
export { hypervolume, paretoFront } from "./hypervolume.ts";
export { influence, type UpdateWeightsOptions, updateWeights } from "./influence.ts";
// methods:begin, written by `pnpm gen`
export { fixedWeights } from "./methods/fixed-weights.ts";
export { gradientWeights } from "./methods/gradient-weights.ts";
export { hypervolumeWeights } from "./methods/hypervolume-weights.ts";
// methods:end
export { mixedAdvantages, objectiveAdvantages } from "./mix-rewards.ts";
export { type GramOptions, objectiveGram } from "./objective-gram.ts";
export type { KlOptions, Policy } from "./policy-graph.ts";
export {
  type Aggregation,
  aggregate,
  aggregations,
  type KlKind,
  klKinds,
  klPenalty,
  type PolicyLoss,
  type PolicyLossCall,
  type PolicyLossOptions,
  policyLoss,
  tokenLogProbabilities,
} from "./policy-loss.ts";
export type { Rollout } from "./rollout.ts";

export {
  type Act,
  type PolicyStep,
  type PolicyTraining,
  type SavedPolicy,
  type TrainPolicyOptions,
  trainPolicy,
} from "./train-policy.ts";
export { rewardWeightings } from "./weighting-list.ts";
