import { expect, test } from "vitest";
import * as everything from "../src/index.ts";

test("the public names are these: a change of the interface shows here", () => {
  expect(Object.keys(everything).sort().join(" ")).toMatchInlineSnapshot(
    `"advantageEstimators aggregate aggregations bindWeighting defineRewardWeighting fixedWeights gradientWeights groupAdvantages hypervolume hypervolumeWeights influence klKinds klPenalty mixedAdvantages objectiveAdvantages objectiveGram paretoFront policyLoss rewardWeightings rewardsOnLastToken tokenLogProbabilities trainPolicy updateWeights"`,
  );
});
