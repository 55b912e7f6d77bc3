import { fixtureArea } from "@loomweight/fixtures";
import { toFloat64 } from "@loomweight/tensor";
import { describe, expect, test } from "vitest";
import { evaluateTrace } from "../src/evaluate/trace.ts";
import { buildCase, difference, readOperatorCases, runNatively } from "./gradient-cases.ts";

const folder = fixtureArea("gradients");

describe.skipIf(folder === undefined)("recorded gradients of operators", () => {
  const { cases, tensors } = folder === undefined ? { cases: [], tensors: new Map() } : readOperatorCases(folder);
  for (const each of cases) {
    test(`${each.name}: in float64`, () => {
      const { feeds, results, expected } = buildCase(each, tensors, "float64");
      const found = evaluateTrace(results, feeds);
      for (const [name, tensor] of Object.entries(expected)) {
        expect(found[name].shape, name).toEqual(tensor.shape);
        expect(difference(toFloat64(found[name]), tensor, "entry"), name).toBeLessThanOrEqual(1e-10);
      }
    });
    test(`${each.name}: by onnxruntime in float32`, async () => {
      const built = buildCase(each, tensors, "float32");
      const found = await runNatively(built, each.opset);
      for (const [name, tensor] of Object.entries(built.expected)) {
        expect(found[name].shape, name).toEqual(tensor.shape);
        const tolerance = name in each.outputs ? 2e-5 : 1e-4;
        expect(difference(found[name].values, tensor, "largest"), name).toBeLessThanOrEqual(tolerance);
      }
    });
  }
});
