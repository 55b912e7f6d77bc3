import { expect, test } from "vitest";
import { optimizerContract } from "../../test/contract.ts";
import { expectWorked } from "../../test/worked.ts";
import { sgd } from "./sgd.ts";

optimizerContract(sgd);

test("plain: p − lr g", () => {
  expectWorked(sgd(), {
    learningRate: 0.1,
    after: [
      [0.95, -1.9],
      [0.925, -1.95],
    ],
  });
});

test("momentum, with and without dampening: the first buffer is the gradient", () => {
  expectWorked(sgd({ momentum: 0.9 }), {
    learningRate: 0.1,
    after: [
      [0.95, -1.9],
      [0.88, -1.86],
    ],
  });
});

test("dampening from the second step on", () => {
  expectWorked(sgd({ momentum: 0.9, dampening: 0.5 }), {
    learningRate: 0.1,
    after: [
      [0.95, -1.9],
      [0.8925, -1.835],
    ],
  });
});

test("nesterov with weight decay: numbers of torch in float64", () => {
  expectWorked(sgd({ momentum: 0.9, nesterov: true, weightDecay: 0.1 }), {
    learningRate: 0.1,
    after: [
      [0.886, -1.772],
      [0.773066, -1.736132],
    ],
  });
});

test("nesterov asks for momentum without dampening", () => {
  expect(() => sgd({ nesterov: true })).toThrow(/sgd.nesterov.*momentum above 0/s);
  expect(() => sgd({ momentum: 0.9, dampening: 0.1, nesterov: true })).toThrow(/dampening 0/);
  expect(() => sgd({ momentum: 1 })).toThrow(/below 1/);
});
