import { boolean, choice, integer, nonNegative, type OptionValues, positive, unitInterval } from "@loomweight/tensor";

/** Options of a search by gradient. */
export const searchOptions = {
  epochs: integer(50, "passes of `stepsPerEpoch` steps; temperatures fall from one to the next", { min: 1 }),
  stepsPerEpoch: integer(undefined, "steps of one epoch", { min: 1 }),
  architectureRate: positive(3e-4, "learning rate of alpha"),
  alphaDeviation: nonNegative(1e-3, "standard deviation of the first alpha"),
  clipNorm: positive(5, "largest norm of the weights' gradients"),
  secondOrder: boolean(false, "looks through one step of the weights (soft samplers without noise)"),
  unrolledMomentum: unitInterval(0.9, "momentum of the step that `secondOrder` looks through"),
  unrolledDecay: nonNegative(3e-4, "weight decay of the step that `secondOrder` looks through"),
  compute: choice(
    ["auto", "slice", "mask"],
    "auto",
    "how a hard sampler's network is computed: its slices alone (a program for each network), or the largest with one-hot probabilities (one program); auto slices up to 64 networks",
  ),
  seed: integer(0, "keys the first alpha and all draws"),
} as const;

export type SearchOptions = OptionValues<typeof searchOptions>;
