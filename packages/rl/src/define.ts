import { LoomweightError, type OptionSpecs, type OptionValues, parseOptions } from "@loomweight/tensor";

/** State of a weighting between steps: plain data, so that JSON saves it. */
export type WeightingState = Readonly<Record<string, number | readonly number[] | readonly (readonly number[])[]>>;

/** The rewards that are to be weighed. */
export interface Objectives {
  /** Initial weights [K] ≥ 0 that sum to 1. */
  readonly weights: readonly number[];
  /** Directions of the validation metrics; default: all are maximised. */
  readonly maximize?: readonly boolean[];
  /** Validation metrics of the untrained policy, for methods that validate. */
  readonly reference?: readonly number[];
}

/** What a training has measured for a weighting before it is asked for weights. */
export interface Observation {
  /** Validation metrics [K] of the present policy, where the weighting needs "validation". */
  readonly metrics?: readonly number[];
  /** Inner products [K, K], row by row, of the objectives' gradients, where it needs "gradients". */
  readonly gram?: Float64Array;
  /** The policy's learning rate at this step. */
  readonly learningRate: number;
}

/** How the rewards of a step are mixed. */
export interface Mixture {
  /** [K], sums to 1: the reward of a response is Σ weights[k] · rewards[k]. */
  readonly weights: readonly number[];
  /** Factor on the mixed reward, before advantages are taken. */
  readonly rewardFactor: number;
  /** Factor on the advantages. */
  readonly advantageFactor: number;
}

/**
 * How the weights of several rewards follow the training of a policy. A weighting is made of pure functions of its
 * state; the training measures what it `needs` and calls `observe` once a step.
 */
export interface RewardWeighting<O extends OptionSpecs = OptionSpecs, S extends WeightingState = WeightingState> {
  /** In kebab case, as file and page have it. */
  readonly name: string;
  readonly source: string;
  /** What it does, in one sentence: the row of the table. */
  readonly summary: string;
  readonly options: O;
  readonly needs: readonly ("validation" | "gradients")[];
  init(objectives: Objectives, options: OptionValues<O>): S;
  observe(state: S, seen: Observation, options: OptionValues<O>): S;
  mix(state: S, options: OptionValues<O>): Mixture;
}

/** A weighting whatever its options and state are. */
// biome-ignore lint/suspicious/noExplicitAny: lists hold weightings of every state
export type AnyRewardWeighting = RewardWeighting<any, any>;

/** Declares a weighting; the types of its options follow from their specs. */
export function defineRewardWeighting<const O extends OptionSpecs, S extends WeightingState>(
  weighting: RewardWeighting<O, S>,
): RewardWeighting<O, S> {
  return weighting;
}

/** A weighting with its options checked and bound: what trainings call. */
export interface BoundWeighting<S extends WeightingState = WeightingState> {
  readonly name: string;
  readonly needs: readonly ("validation" | "gradients")[];
  init(objectives: Objectives): S;
  observe(state: S, seen: Observation): S;
  mix(state: S): Mixture;
}

/** Throws `INVALID_OPTION` for options and weights that the method does not take. */
export function bindWeighting<O extends OptionSpecs, S extends WeightingState>(
  weighting: RewardWeighting<O, S>,
  given: Partial<OptionValues<O>> = {},
): BoundWeighting<S> {
  const options = parseOptions(weighting.options, given, weighting.name);
  return {
    name: weighting.name,
    needs: weighting.needs,
    init(objectives) {
      checkWeights(objectives.weights, weighting.name);
      return weighting.init(objectives, options);
    },
    observe: (state, seen) => weighting.observe(state, seen, options),
    mix: (state) => weighting.mix(state, options),
  };
}

function checkWeights(weights: readonly number[], name: string): void {
  const sum = weights.reduce((total, weight) => total + weight, 0);
  if (weights.length > 0 && weights.every((weight) => weight >= 0) && Math.abs(sum - 1) <= 1e-6) return;
  throw new LoomweightError({
    code: "INVALID_OPTION",
    option: `${name}.weights`,
    problem: "the weights are no mixture",
    expected: "numbers >= 0 that sum to 1",
    found: `[${weights.join(", ")}], sum ${sum}`,
  });
}
