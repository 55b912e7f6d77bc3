import { choice, invalidOption, LoomweightError, nonNegative, positive } from "@loomweight/tensor";
import { defineRewardWeighting } from "../define.ts";
import { hypervolume, paretoFront } from "../hypervolume.ts";

/** What is kept between validations; `directions` holds 1 for metrics to maximise and -1 for the others. */
export type HypervolumeState = {
  readonly weights: readonly number[];
  readonly directions: readonly number[];
  readonly reference: readonly number[];
  /** Metrics that no later ones dominate. */
  readonly buffer: readonly (readonly number[])[];
  readonly meta: number;
  /** By how much the latest validation enlarged the hypervolume. */
  readonly contribution: number;
};

/**
 * Hypervolume-guided weighting: the weights stay; a validation that enlarges the hypervolume of those before it, seen
 * from the untrained policy, strengthens the step: meta = 0.5 + 1.5 tanh(hvScale · ΔHV), in [0.5, 2).
 * Source: Lu et al. 2025, arXiv:2509.11452, §4.1.
 * Differs: meta multiplies the advantages, not the rewards (GRPO's deviation and whitening cancel a factor on these),
 * unless `applyTo` is "reward"; metrics worse than the reference add nothing (the reference code goes negative, then
 * fails); dominated metrics leave the buffer, which changes no volume.
 */
export const hypervolumeWeights = defineRewardWeighting({
  name: "hypervolume-weights",
  source: "arXiv:2509.11452",
  summary: "Strengthens the steps of a policy whose validation enlarges the Pareto hypervolume; the weights stay.",
  options: {
    hvScale: positive(1, "factor on the growth of the hypervolume; metrics of small range want a large one"),
    applyTo: choice(["advantage", "reward"], "advantage", "what the factor multiplies"),
    referenceSlack: nonNegative(0, "moves the reference outward by this share of its magnitude"),
  },
  needs: ["validation"],
  init({ weights, maximize, reference }, { referenceSlack }): HypervolumeState {
    if (reference === undefined) throw missing("reference", "validation metrics of the untrained policy");
    if (maximize !== undefined && maximize.length !== reference.length) {
      throw invalidOption({ option: "maximize" }, maximize.join(", "), `${reference.length} values`);
    }
    const directions = reference.map((_, k) => ((maximize?.[k] ?? true) ? 1 : -1));
    return {
      weights: [...weights],
      directions,
      reference: reference.map((value, k) => value - directions[k] * referenceSlack * Math.abs(value)),
      buffer: [],
      meta: 1,
      contribution: 0,
    };
  },
  observe(state, { metrics }, { hvScale }) {
    if (metrics === undefined) throw missing("metrics", "validation metrics of the present policy");
    const maximize = state.directions.map((direction) => direction > 0);
    const volume = (points: readonly (readonly number[])[]) => hypervolume(points, state.reference, maximize);
    const own = [...metrics];
    const front = paretoFront([...state.buffer, own], maximize);
    // A dominated point adds exactly nothing; the difference of two volumes would be rounding.
    const contribution = front.includes(own) ? Math.max(0, volume(front) - volume(state.buffer)) : 0;
    return {
      ...state,
      buffer: contribution > 0 ? front : state.buffer,
      contribution,
      meta: 0.5 + 1.5 * Math.tanh(hvScale * contribution),
    };
  },
  mix: ({ weights, meta }, { applyTo }) => ({
    weights,
    rewardFactor: applyTo === "reward" ? meta : 1,
    advantageFactor: applyTo === "advantage" ? meta : 1,
  }),
});

function missing(option: string, expected: string): LoomweightError {
  return new LoomweightError({
    code: "MISSING_OPTION",
    option,
    problem: "hypervolume-weights compares validations",
    expected,
    found: "nothing",
    fix: "Give the training a `validate` function.",
  });
}
