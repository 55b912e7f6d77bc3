// Written by `pnpm gen` from the files in methods/.
import type { AnyRewardWeighting } from "./define.ts";
import { fixedWeights } from "./methods/fixed-weights.ts";
import { gradientWeights } from "./methods/gradient-weights.ts";
import { hypervolumeWeights } from "./methods/hypervolume-weights.ts";

/** Every weighting of rewards, by name. */
export const rewardWeightings: readonly AnyRewardWeighting[] = [fixedWeights, gradientWeights, hypervolumeWeights];
