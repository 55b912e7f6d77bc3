import { expect, test } from "vitest";
import * as everything from "../src/index.ts";
import { optimizers } from "../src/index.ts";

test("the public names are these: a change of the interface shows here", () => {
  expect(Object.keys(everything).sort().join(" ")).toMatchInlineSnapshot(
    `"acceptedFraction accumulateFisher adabelief adadelta adafactor adagrad adam adamax adamp adamw adan adopt asgd averageGradSum bfloat16State cautious chain classp clipByGlobalNorm clipByValue constantSchedule cosineRestartsSchedule cosineSchedule cyclicSchedule defineOptimizer ema ewc ewcPenalty exponentialSchedule gradientNorm groups inverseSqrtSchedule isMatrix isVector lamb laprop lars linearSchedule lion lookahead madgrad mars maskWeightDecay maximize multiStepSchedule muon nadam nadamw newtonSchulz novograd oneCycleMomentum oneCycleSchedule onlineFisher optimizers perParameter piecewiseSchedule polynomialSchedule projectScaleInvariant radam rmsprop rprop sam scheduleFreeAdamw scheduleFreeSgd scheduleMomentum sequentialSchedule sgd sgdp stateName stepSchedule stochasticRound swa warmup wsdSchedule"`,
  );
});

test("every optimizer is listed once, with a page and a rate to start from", () => {
  const names = optimizers.map(({ name }) => name);
  expect(new Set(names).size).toBe(names.length);
  expect(
    optimizers.every(({ learningRate, summary, source }) => learningRate > 0 && summary !== "" && source !== ""),
  ).toBe(true);
});
