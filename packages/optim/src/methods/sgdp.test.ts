import type { Optimizer } from "@loomweight/graph/training";
import { tensor, toFloat64 } from "@loomweight/tensor";
import { expect, test } from "vitest";
import { optimizerContract } from "../../test/contract.ts";
import { stepOnTensors, type Tensors } from "../../test/run.ts";
import { expectWorked } from "../../test/worked.ts";
import { sgd } from "./sgd.ts";
import { sgdp } from "./sgdp.ts";

optimizerContract(
  sgdp,
  { "entries do not depend on one another": "rows are tested and projected as a whole" },
  { options: { momentum: 0.9 }, learningRate: 0.01 },
);

test("the card's numbers", () => {
  expectWorked(sgdp({ momentum: 0.9, weightDecay: 0.01 }), {
    learningRate: 0.1,
    start: [[3, 4]],
    gradients: [[[4, -3]], [[2.148, -1.2985]]],
    tolerance: 1e-5,
    after: [[[2.597, 4.296]], [[1.99642, 4.6532]]],
  });
});

test("scale-invariant quadratic: the norm stays down and the loss far below SGD's", () => {
  // f(w) = ½ Σ aᵢ (wᵢ / |w| − tᵢ)², 20 entries; every gradient is orthogonal to w.
  const size = 20;
  const curvature = Array.from({ length: size }, (_, i) => 100 ** (i / (size - 1)));
  const unit = (values: number[]) => values.map((value) => value / Math.hypot(...values));
  const target = unit(Array.from({ length: size }, (_, i) => Math.cos(3 * i + 1)));
  const lossOf = (w: number[]) => unit(w).reduce((sum, n, i) => sum + (curvature[i] * (n - target[i]) ** 2) / 2, 0);
  const gradientOf = (w: number[]) => {
    const length = Math.hypot(...w);
    const slope = unit(w).map((n, i) => curvature[i] * (n - target[i]));
    const radial = unit(w).reduce((sum, n, i) => sum + n * slope[i], 0);
    return slope.map((value, i) => (value - unit(w)[i] * radial) / length);
  };
  const run = (optimizer: Optimizer) => {
    let at: { parameters: Tensors; state: Tensors } = {
      parameters: {
        w: tensor(unit(Array.from({ length: size }, (_, i) => Math.sin(5 * i + 2))), [1, size], "float64"),
      },
      state: {},
    };
    at = { ...at, state: { ...optimizer.init(at.parameters) } };
    for (let step = 1; step <= 300; step++) {
      const w = [...toFloat64(at.parameters.w)];
      at = stepOnTensors(
        optimizer,
        at,
        { w: tensor(gradientOf(w), [1, size], "float64") },
        { step, learningRate: 0.01 },
      );
    }
    const w = [...toFloat64(at.parameters.w)];
    return { loss: lossOf(w), norm: Math.hypot(...w) };
  };
  const [projected, plain] = [run(sgdp({ momentum: 0.9 })), run(sgd({ momentum: 0.9 }))];
  expect(projected.loss).toBeLessThan(1e-4 * plain.loss);
  expect(projected.norm).toBeLessThan(plain.norm);
});
