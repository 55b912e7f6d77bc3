import { tensor, toFloat64 } from "@loomweight/tensor";
import { expect, test } from "vitest";
import { runSteps } from "../../test/run.ts";
import { sgd } from "../methods/sgd.ts";
import { scheduleMomentum } from "../schedule-momentum.ts";
import {
  constantSchedule,
  cosineRestartsSchedule,
  cosineSchedule,
  cyclicSchedule,
  exponentialSchedule,
  inverseSqrtSchedule,
  linearSchedule,
  multiStepSchedule,
  oneCycleMomentum,
  oneCycleSchedule,
  piecewiseSchedule,
  polynomialSchedule,
  type Schedule,
  sequentialSchedule,
  stepSchedule,
  warmup,
  wsdSchedule,
} from "./index.ts";

/** Rates after so many steps taken. */
const at = (schedule: Schedule, taken: readonly number[]) => taken.map((t) => schedule(t));
const expectRates = (schedule: Schedule, taken: readonly number[], rates: readonly number[], digits = 6) => {
  for (const [i, rate] of at(schedule, taken).entries())
    expect(rate, `after ${taken[i]}`).toBeCloseTo(rates[i], digits);
};

test("warm-up of 2 and cosine to 10: the card's numbers", () => {
  const schedule = warmup(cosineSchedule({ rate: 1, steps: 8 }), { steps: 2 });
  expectRates(schedule, [0, 1, 2, 4, 6, 8, 10], [0, 0.5, 1, 0.853553, 0.5, 0.146447, 0]);
  expectRates(schedule, [11, 1000], [0, 0], 15);
});

test("warm-up, stable, decay: the card's numbers for each fall", () => {
  const options = { rate: 1, warmup: 2, stable: 4, decay: 4, floor: 0.1 };
  expectRates(wsdSchedule(options), [0, 1, 2, 5, 6, 7, 8, 9, 10], [0.1, 0.55, 1, 1, 1, 0.775, 0.55, 0.325, 0.1]);
  expectRates(wsdSchedule({ ...options, fall: "cosine" }), [7, 8, 9, 10], [0.868198, 0.55, 0.231802, 0.1]);
  expectRates(wsdSchedule({ ...options, fall: "sqrt" }), [7, 8, 9, 10, 50], [0.55, 0.363604, 0.220577, 0.1, 0.1]);
});

test("inverse square root after a warm-up of 4, polynomial with floor: the card's numbers", () => {
  expectRates(warmup(inverseSqrtSchedule({ rate: 1, timescale: 4 }), { steps: 4 }), [2, 9, 16], [0.5, 0.666667, 0.5]);
  const polynomial = polynomialSchedule({ rate: 1e-2, steps: 8, power: 2, floor: 1e-4 });
  expect(warmup(polynomial, { steps: 2 })(6) / 1e-2).toBeCloseTo(0.2575, 10);
});

test("every schedule starts where it says and goes where it says", () => {
  expectRates(constantSchedule({ rate: 2, factor: 0.5, steps: 3 }), [0, 2, 3], [1, 1, 2]);
  expectRates(stepSchedule({ rate: 1, every: 2, gamma: 0.5 }), [0, 1, 2, 4], [1, 1, 0.5, 0.25]);
  expectRates(multiStepSchedule([2, 3, 3], { rate: 1, gamma: 0.5 }), [1, 2, 3], [1, 0.5, 0.125]);
  expectRates(exponentialSchedule({ rate: 1, gamma: 0.5 }), [0, 3], [1, 0.125]);
  expectRates(linearSchedule({ rate: 1, steps: 4 }), [0, 2, 4, 9], [1, 0.5, 0, 0]);
  expectRates(cosineSchedule({ rate: 1, steps: 4, after: "climb" }), [4, 8], [0, 1]);
  expectRates(cosineRestartsSchedule({ rate: 1, steps: 2, growth: 2 }), [0, 1, 2, 4, 6], [1, 0.5, 1, 0.5, 1]);
  expectRates(cyclicSchedule({ low: 0, high: 1, up: 2, down: 2 }), [0, 1, 2, 3, 4, 6], [0, 0.5, 1, 0.5, 0, 1]);
  expectRates(
    piecewiseSchedule([
      [1, 1],
      [3, 5],
    ]),
    [0, 1, 2, 3, 4],
    [1, 1, 3, 5, 5],
  );
  expectRates(oneCycleSchedule({ peak: 1, steps: 11, rise: 0.5 }), [0, 4.5, 10], [0.04, 1, 4e-6]);
  const parts = sequentialSchedule([constantSchedule({ rate: 1 }), linearSchedule({ rate: 8, steps: 4 })], [2]);
  expectRates(parts, [1, 2, 3, 6], [1, 8, 6, 0]);
});

test("momentum moves with a cycle of the rate", () => {
  const momentum = oneCycleMomentum({ steps: 11, rise: 0.5, lowest: 0.5, highest: 0.9 });
  expectRates(momentum, [0, 4.5, 10], [0.9, 0.5, 0.9]);
  const gradients = Array.from({ length: 3 }, () => ({ p: tensor([-1], [1], "float64") }));
  const optimizer = scheduleMomentum(sgd({ momentum: 0.9 }), (taken) => (taken + 1) / 10);
  const steps = runSteps(optimizer, { p: tensor([0], [1], "float64") }, gradients, 1);
  // Buffers 1, 1.2, 1.36: each keeps step / 10 of the last.
  expect(toFloat64(steps[2].parameters.p)[0]).toBeCloseTo(1 + 1.2 + 1.36, 12);
  expect(() => scheduleMomentum(sgd(), momentum)).toThrow(/no momentum/);
});

test("bad options are refused by name", () => {
  expect(() => cosineSchedule({ rate: 1, steps: 0 })).toThrow(/cosineSchedule.steps/);
  expect(() => cosineSchedule({ rate: 1 } as never)).toThrow(/required option/);
  expect(() => multiStepSchedule([3, 2], { rate: 1 })).toThrow(/rising/);
  expect(() => sequentialSchedule([constantSchedule({ rate: 1 })], [3])).toThrow(/one milestone between/);
  expect(() => piecewiseSchedule([])).toThrow(/no points/);
});
