import { equal, expectClose, type Tensor, tensor, toFloat64 } from "@loomweight/tensor";
import { expect, test } from "vitest";
import { runSteps } from "../test/run.ts";
import { chain } from "./chain.ts";
import { accumulateFisher, ewc, ewcPenalty, onlineFisher } from "./ewc.ts";
import { sgd } from "./methods/sgd.ts";

const vector = (...numbers: number[]) => tensor(numbers, [numbers.length], "float64");
const task = { anchor: { p: vector(1, -1) }, fisher: { p: vector(2, 0.5) } };
const theta = { p: vector(1.5, -0.5) };
const none = { p: vector(0, 0) };

test("penalty and pull: the card's numbers", () => {
  expect(toFloat64(ewcPenalty(theta, [task], 10) as Tensor)[0]).toBeCloseTo(3.125, 12);
  // One step of rate 1 without any other gradient moves by the pull, 10 and 2.5.
  const optimizer = chain(ewc([task], { lambda: 10 }), sgd());
  const [{ parameters, state }] = runSteps(optimizer, theta, [none], 1);
  expectClose(parameters.p, vector(1.5 - 10, -0.5 - 2.5), 1e-12);
  expect(equal(state["ewc_anchor_0/p"], task.anchor.p)).toBe(true);
  expect(equal(state["ewc_fisher_0/p"], task.fisher.p)).toBe(true);
});

test("strength 0, the anchor itself and free entries are not pulled; two tasks add up", () => {
  const step = (tasks: Parameters<typeof ewc>[0], lambda: number, start = theta) =>
    runSteps(chain(ewc(tasks, { lambda }), sgd()), start, [none], 1)[0].parameters.p;
  expect(equal(step([task], 0), theta.p)).toBe(true);
  expect(equal(step([task], 10, task.anchor), task.anchor.p)).toBe(true);
  expectClose(step([{ ...task, fisher: { p: vector(2, 0) } }], 1), vector(0.5, -0.5), 1e-12);
  expectClose(step([task, task], 1), vector(1.5 - 2, -0.5 - 0.5), 1e-12);
  expect(equal(step([{ anchor: {}, fisher: {} }], 1), theta.p)).toBe(true);
});

test("Fisher information of a softmax: the card's numbers", () => {
  // Two classes, x = (1, 2), probabilities 0.668188 and 0.331812, label 0: gradients (probability − label) ⊗ x.
  const p = 0.668187772168166;
  const slope = (label: number) => {
    const d = [p - (label === 0 ? 1 : 0), 1 - p - (label === 1 ? 1 : 0)];
    return {
      w: tensor(
        [
          [d[0], 2 * d[0]],
          [d[1], 2 * d[1]],
        ],
        [2, 2],
        "float64",
      ),
    };
  };
  const zero = {
    w: tensor(
      [
        [0, 0],
        [0, 0],
      ],
      [2, 2],
      "float64",
    ),
  };
  const empirical = accumulateFisher(zero, slope(0), 1).w as Tensor;
  expectClose(
    empirical,
    tensor(
      [
        [0.110099, 0.440397],
        [0.110099, 0.440397],
      ],
      [2, 2],
      "float64",
    ),
    1e-6,
  );
  const model = accumulateFisher(accumulateFisher(zero, slope(0), p), slope(1), 1 - p).w as Tensor;
  expectClose(
    model,
    tensor(
      [
        [0.221713, 0.886851],
        [0.221713, 0.886851],
      ],
      [2, 2],
      "float64",
    ),
    1e-6,
  );
  expectClose(onlineFisher({ w: empirical }, { w: model }, 0).w as Tensor, model, 0);
});

test("a task of another shape is refused by name", () => {
  const wrong = { anchor: { p: vector(1) }, fisher: { p: vector(1) } };
  expect(() => ewc([wrong], { lambda: 1 }).init?.(theta)).toThrow(/"p".*ewc.*parameter has \[2\]/s);
  expect(() => ewc([task], { lambda: -1 })).toThrow(/ewc.lambda/);
});
