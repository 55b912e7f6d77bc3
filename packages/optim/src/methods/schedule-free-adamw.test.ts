import { expectClose, type Tensor, tensor, toFloat64 } from "@loomweight/tensor";
import { test } from "vitest";
import { optimizerContract } from "../../test/contract.ts";
import { runSteps } from "../../test/run.ts";
import { wave } from "../../test/wave.ts";
import { expectWorked } from "../../test/worked.ts";
import { scheduleFreeAdamw } from "./schedule-free-adamw.ts";

optimizerContract(scheduleFreeAdamw);

test("the trained weights: the card's numbers", () => {
  expectWorked(scheduleFreeAdamw({ weightDecay: 0.1 }), {
    learningRate: 0.1,
    tolerance: 1e-5,
    after: [
      [0.89, -1.88],
      [0.850315, -1.90445],
    ],
  });
});

test("the average and the base iterate: the card's numbers", () => {
  const optimizer = scheduleFreeAdamw({ weightDecay: 0.1 });
  const gradients = [
    [0.5, -1],
    [0.25, 0.5],
  ].map((values) => ({ p: tensor(values, [2], "float64") }));
  const last = runSteps(optimizer, { p: tensor([1, -2], [2], "float64") }, gradients, 0.1)[1];
  expectClose(last.state["z/p"], tensor([0.817845, -1.92446], [2], "float64"), 1e-5);
  expectClose(optimizer.averaged?.(last).p as Tensor, tensor([0.853922, -1.90223], [2], "float64"), 1e-5);
});

test("at a constant rate the average is the plain mean of the base iterates", () => {
  const optimizer = scheduleFreeAdamw();
  const gradients = Array.from({ length: 7 }, (_, t) => ({ p: wave([3], t) }));
  const steps = runSteps(optimizer, { p: wave([3], 9) }, gradients, 0.05);
  const mean = toFloat64(steps[0].state["z/p"]).map(
    (_, i) => steps.reduce((sum, { state }) => sum + toFloat64(state["z/p"])[i], 0) / steps.length,
  );
  expectClose(optimizer.averaged?.(steps[6]).p as Tensor, tensor([...mean], [3], "float64"), 1e-12);
});
