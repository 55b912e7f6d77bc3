import { tensor, toFloat64 } from "@loomweight/tensor";
import { expect, test } from "vitest";
import { optimizerContract } from "../../test/contract.ts";
import { runSteps } from "../../test/run.ts";
import { expectWorked } from "../../test/worked.ts";
import { lamb } from "./lamb.ts";

optimizerContract(lamb, { "entries do not depend on one another": "steps are scaled by the norms of the tensor" });

test("numbers of timm in float64", () => {
  expectWorked(lamb({ weightDecay: 0.01 }), {
    learningRate: 0.1,
    after: [
      [0.8426669915, -1.8411090801],
      [0.6488735316, -1.7824422415],
    ],
  });
});

test("the step has the length lr · |p|, and grows with the weights", () => {
  for (const scale of [1, 4]) {
    const start = [0.6 * scale, -0.8 * scale];
    const { p } = runSteps(
      lamb(),
      { p: tensor(start, [2], "float64") },
      [{ p: tensor([3, 1], [2], "float64") }],
      0.1,
    )[0].parameters;
    const moved = Math.hypot(...toFloat64(p).map((value, i) => value - start[i]));
    expect(moved).toBeCloseTo(0.1 * scale, 12);
  }
});

test("a tensor of zeros steps as Adam does", () => {
  expectWorked(lamb({ epsilon: 0 }), { learningRate: 0.1, start: [0, 0], gradients: [[2, -4]], after: [[-0.1, 0.1]] });
});
