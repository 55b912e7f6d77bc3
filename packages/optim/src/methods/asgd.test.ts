import { type Tensor, toFloat64 } from "@loomweight/tensor";
import { expect, test } from "vitest";
import { optimizerContract } from "../../test/contract.ts";
import { runSteps } from "../../test/run.ts";
import { wave } from "../../test/wave.ts";
import { expectWorked } from "../../test/worked.ts";
import { asgd } from "./asgd.ts";

optimizerContract(asgd);

test("numbers of torch in float64", () => {
  expectWorked(asgd({ lambda: 0.1 }), {
    learningRate: 0.1,
    after: [
      [0.94, -1.88],
      [0.905855763, -1.9109680289],
    ],
  });
});

test("averages from its start on, and gives the average", () => {
  const initial = { p: wave([3], 1) };
  const gradients = Array.from({ length: 6 }, (_, t) => ({ p: wave([3], t) }));
  const optimizer = asgd({ start: 1 });
  const steps = runSteps(optimizer, initial, gradients, 0.1);
  // Steps 1 to 3 are taken over as they are, then each new one has the share 1 / (t − 2).
  const mean = [2, 3, 4, 5].map((t) => toFloat64(steps[t].parameters.p));
  const expected = mean[0].map((_, i) => mean.reduce((sum, each) => sum + each[i], 0) / 4);
  const p = optimizer.averaged?.(steps[5]).p as Tensor;
  for (const [i, value] of toFloat64(p).entries()) expect(value).toBeCloseTo(expected[i], 12);
});
