import { methodCases } from "@loomweight/fixtures";
import { type Tensor, toFloat64 } from "@loomweight/tensor";
import { describe, expect, test } from "vitest";
import { type AffinityKind, affinityMatrix, correctPredictions, lameObjective, rowsOf } from "../../src/index.ts";

interface Options {
  readonly affinity: AffinityKind;
  readonly k: number;
  readonly symmetrize: boolean;
  readonly lambda: number;
  readonly maxSteps: number;
  readonly iterations: number;
  readonly converged: boolean;
}

function expectNear(found: ArrayLike<number>, expected: ArrayLike<number>, tolerance: number, relative = false): void {
  expect(found.length).toBe(expected.length);
  for (let i = 0; i < expected.length; i++) {
    const scale = relative ? Math.max(1, Math.abs(expected[i])) : 1;
    expect(Math.abs(found[i] - expected[i]) / scale, `[${i}]`).toBeLessThanOrEqual(tolerance);
  }
}

describe("LAME, recorded", () => {
  const cases = methodCases<Options>("37-lame");
  if (cases.length === 0) test("recorded cases", (context) => context.skip("the fixtures do not hold this method"));
  for (const { name, options, tensor, tensors } of cases) {
    const { iterations, converged, ...given } = options;
    const [probabilities, features] = [tensor("probs"), tensor("features")];
    // A Gaussian is as exact as its width: the README allows 1e-10 for it.
    const loose = options.affinity === "rbf" ? 1e-10 : 1e-12;
    const after = (maxSteps: number) =>
      toFloat64(correctPredictions(probabilities, features, { ...given, maxSteps }).probabilities);
    test(name, () => {
      const w = affinityMatrix(rowsOf(features, "features"), given);
      expectNear(w, toFloat64(tensor("affinity")), loose);
      expectNear(after(1), toFloat64(tensor("y_first")), loose);
      expectNear(after(2), toFloat64(tensor("y_second")), loose);
      const result = correctPredictions(probabilities, features, given);
      expect({ iterations: result.iterations, converged: result.converged }).toEqual({ iterations, converged });
      expectNear(result.bound, toFloat64(tensor("energy")), options.affinity === "rbf" ? 1e-10 : 1e-11, true);
      expectNear(toFloat64(result.probabilities), toFloat64(tensor("y")), 1e-9);
      if (tensors.has("objective")) {
        const objective = toFloat64(tensor("objective"));
        const own = (y: Tensor) => lameObjective(y, probabilities, w, options.lambda);
        expectNear([own(result.probabilities)], [objective[iterations]], 1e-8, true);
      }
    });
  }
});
