import { gather } from "@loomweight/graph";
import type { Optimizer } from "@loomweight/graph/training";
import { expectClose, type Tensor } from "@loomweight/tensor";
import { expect, test } from "vitest";
import { optimizerContract } from "../../test/contract.ts";
import { runSteps } from "../../test/run.ts";
import { runScaleInvariant } from "../../test/scale-invariant.ts";
import { wave } from "../../test/wave.ts";
import { expectWorked } from "../../test/worked.ts";
import { adam } from "./adam.ts";
import { adamp } from "./adamp.ts";
import { adamw } from "./adamw.ts";

optimizerContract(adamp, { "entries do not depend on one another": "rows are tested and projected as a whole" });

test("two steps of the card, orthogonal gradients: numbers of timm in float64", () => {
  expectWorked(adamp(), {
    learningRate: 0.1,
    start: [[3, 4]],
    gradients: [[[4, -3]], [[2.042, -1.444]]],
    after: [[[2.8880000004, 4.0839999998]], [[2.7819755605, 4.158975167]]],
  });
});

test("case A of the card: rows are scale invariant", () => {
  expectWorked(adamp({ weightDecay: 0.01 }), {
    learningRate: 0.1,
    start: [
      [3, 4],
      [1, -2],
    ],
    gradients: [
      [
        [4, -3],
        [2, 1],
      ],
    ],
    tolerance: 1e-5,
    after: [
      [
        [2.8877, 4.0836],
        [0.8799, -2.0598],
      ],
    ],
  });
});

test("case B of the card: the layer is", () => {
  expectWorked(adamp({ weightDecay: 0.01 }), {
    learningRate: 0.1,
    start: [
      [1, 0],
      [0, 1],
    ],
    gradients: [
      [
        [1, 2],
        [3, -1],
      ],
    ],
    tolerance: 1e-5,
    after: [
      [
        [0.8999, -0.1],
        [-0.1, 1.0999],
      ],
    ],
  });
});

test("case C of the card: neither is", () => {
  expectWorked(adamp({ weightDecay: 0.01 }), {
    learningRate: 0.1,
    start: [
      [1, 0],
      [0, 1],
    ],
    gradients: [
      [
        [1, 2],
        [3, 1],
      ],
    ],
    tolerance: 1e-5,
    after: [
      [
        [0.899, -0.1],
        [-0.1, 0.899],
      ],
    ],
  });
});

test("vectors, and all tensors with delta 0, step as AdamW does, bit by bit", () => {
  const gradients = (shape: number[]) => Array.from({ length: 4 }, (_, t) => ({ p: wave(shape, t) }));
  const last = (optimizer: Optimizer, shape: number[]) =>
    runSteps(optimizer, { p: wave(shape, 1) }, gradients(shape), 0.01)[3].parameters.p;
  expectClose(last(adamp({ weightDecay: 0.1 }), [5]), last(adamw({ weightDecay: 0.1 }), [5]), 1e-15);
  expectClose(last(adamp({ weightDecay: 0.1, delta: 0 }), [2, 3]), last(adamw({ weightDecay: 0.1 }), [2, 3]), 1e-15);
});

test("permuting the rows permutes the result", () => {
  const swapped = (value: Tensor) => gather(value, [1, 0], 0);
  const run = (p: Tensor, g: Tensor) => runSteps(adamp({ delta: 2 }), { p }, [{ p: g }, { p: g }], 0.1)[1].parameters.p;
  const [p, g] = [wave([2, 5], 1), wave([2, 5], 2)];
  expectClose(run(swapped(p), swapped(g)), swapped(run(p, g)), 1e-14);
});

test("scale-invariant quadratic: the norm stays down and the loss falls further than Adam's", () => {
  for (const learningRate of [0.01, 0.03]) {
    const [projected, plain] = [adamp(), adam()].map((each) => runScaleInvariant(each, learningRate));
    expect(projected.loss).toBeLessThan(plain.loss / 5);
    expect(projected.norm).toBeLessThan(plain.norm);
  }
});
