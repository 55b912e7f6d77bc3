import { expectClose, toFloat64 } from "@loomweight/tensor";
import { expect, test } from "vitest";
import { optimizerContract } from "../../test/contract.ts";
import { runSteps } from "../../test/run.ts";
import { wave } from "../../test/wave.ts";
import { expectWorked } from "../../test/worked.ts";
import { adagrad } from "./adagrad.ts";
import { classp } from "./classp.ts";

optimizerContract(classp);

test("power 1: the card's numbers", () => {
  expectWorked(classp({ threshold: 0.03, epsilon: 0.01 }), {
    learningRate: 0.2,
    start: [1, -1, 0.5],
    gradients: [
      [0.5, -0.1, 0.2],
      [-0.3, 0.4, 0.25],
      [0.1, 0.6, -0.5],
    ],
    tolerance: 1e-5,
    after: [
      [0.803922, -1, 0.309524],
      [0.877996, -1.19512, 0.200828],
      [0.877996, -1.31393, 0.304995],
    ],
  });
});

test("power 2: the card's numbers", () => {
  expectWorked(classp({ threshold: 0.03, epsilon: 0.01, power: 2 }), {
    learningRate: 0.2,
    start: [1, -1, 0.5],
    gradients: [
      [0.5, -0.1, 0.2],
      [-0.3, 0.4, 0.25],
      [0.1, 0.6, -0.5],
    ],
    tolerance: 1e-5,
    after: [
      [0.803884, -1, 0.321115],
      [0.905302, -1.19403, 0.172043],
      [0.905302, -1.35886, 0.338134],
    ],
  });
});

test("what the authors' program computes", () => {
  expectWorked(classp({ threshold: 0.03, epsilon: 0.01, power: 2, variant: "reference-code" }), {
    learningRate: 0.2,
    start: [1, -1, 0.5],
    gradients: [[0.5, -0.1, 0.2]],
    tolerance: 1e-5,
    after: [[0.859972, -0.939698, 0.412713]],
  });
});

test("power 2 without threshold is Adagrad whose sums start at epsilon", () => {
  const initial = { p: wave([5], 1) };
  const gradients = Array.from({ length: 6 }, (_, t) => ({ p: wave([5], t) }));
  const [ours, theirs] = [classp({ power: 2, epsilon: 1e-3 }), adagrad({ epsilon: 0, initialAccumulator: 1e-3 })].map(
    (optimizer) => runSteps(optimizer, initial, gradients, 0.1)[5].parameters.p,
  );
  expectClose(ours, theirs, 1e-12);
});

test("a step is never longer than the rate, and closed entries keep weight and sum bit by bit", () => {
  const initial = { p: wave([6], 1) };
  const gradients = Array.from({ length: 6 }, (_, t) => ({ p: wave([6], t) }));
  const optimizer = classp({ threshold: 0.5 });
  const steps = [
    { parameters: initial, state: optimizer.init(initial) },
    ...runSteps(optimizer, initial, gradients, 0.1),
  ];
  for (let t = 1; t < steps.length; t++) {
    const [before, after] = [steps[t - 1], steps[t]].map(({ parameters }) => toFloat64(parameters.p));
    const [sumBefore, sumAfter] = [steps[t - 1], steps[t]].map(({ state }) => toFloat64(state["grad_sum/p"]));
    toFloat64(gradients[t - 1].p).forEach((g, i) => {
      expect(Math.abs(after[i] - before[i])).toBeLessThanOrEqual(0.1);
      expect(sumAfter[i]).toBeGreaterThanOrEqual(sumBefore[i]);
      if (g * g <= 0.5) expect([after[i], sumAfter[i]]).toEqual([before[i], sumBefore[i]]);
    });
  }
});
