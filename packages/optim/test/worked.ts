import type { Optimizer } from "@loomweight/graph/training";
import { expectClose, type NestedNumbers, tensor } from "@loomweight/tensor";
import { runSteps } from "./run.ts";

export interface WorkedExample {
  readonly learningRate: number;
  /** Default [1, −2]. */
  readonly start?: NestedNumbers;
  /** One per step; default [0.5, −1], [0.25, 0.5]. */
  readonly gradients?: readonly NestedNumbers[];
  /** The parameter after each step. */
  readonly after: readonly NestedNumbers[];
  /** Default 1e-9; six digits where the numbers are printed so. */
  readonly tolerance?: number;
}

const twoGradients = [
  [0.5, -1],
  [0.25, 0.5],
];

/** Runs an optimizer on one parameter in float64 and compares it with given numbers after every step. */
export function expectWorked(optimizer: Optimizer, example: WorkedExample): void {
  const { learningRate, start = [1, -2], gradients = twoGradients, after, tolerance = 1e-9 } = example;
  const initial = { p: tensor(start, undefined, "float64") };
  const steps = runSteps(
    optimizer,
    initial,
    gradients.map((values) => ({ p: tensor(values, undefined, "float64") })),
    learningRate,
  );
  for (const [index, values] of after.entries()) {
    expectClose(steps[index].parameters.p, tensor(values, undefined, "float64"), tolerance);
  }
}
