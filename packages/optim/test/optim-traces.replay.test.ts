import { toFloat64 } from "@loomweight/tensor";
import { describe, expect, test } from "vitest";
import { runCompiled } from "./compiled.ts";
import { gradientsOf, initialOf, optimizerOf, recordedTraces, type Trace, toleranceOf } from "./recorded.ts";
import { runSteps, type Tensors } from "./run.ts";

const recorded = recordedTraces();

/** Compares the parameters after each recorded step; says the worst entry over its tolerance. */
function expectTrace(trace: Trace, parametersAt: (step: number) => Tensors): void {
  for (const step of trace.recordedSteps) {
    const { absolute, relative } = toleranceOf(trace, step);
    for (const [name, key] of Object.entries(trace.tensors[step])) {
      const expected = toFloat64(recorded?.tensor(key) as never);
      const found = toFloat64(parametersAt(step)[name]);
      let [worst, at] = [0, 0];
      for (let i = 0; i < expected.length; i++) {
        const allowed = Math.max(absolute, relative * Math.max(1, Math.abs(expected[i])));
        const ratio = Math.abs(found[i] - expected[i]) / allowed;
        if (!(ratio <= worst)) [worst, at] = [ratio, i];
      }
      expect(
        worst,
        `step ${step}, ${name}[${at}]: ${found[at]} for ${expected[at]}, in tolerances`,
      ).toBeLessThanOrEqual(1);
    }
  }
}

function skipWhereAbsent(): void {
  if (recorded === undefined) test("recorded traces", (context) => context.skip("fixtures/optim is absent"));
}

describe("traces of 50 steps, on tensors in float64", () => {
  skipWhereAbsent();
  test.each(recorded?.traces ?? [])("$name", (trace) => {
    if (recorded === undefined) return;
    const made = optimizerOf(`${trace.library}.${trace.class}`, trace.options);
    expect(made, `no optimizer for ${trace.library}.${trace.class}`).toBeDefined();
    if (made === undefined) return;
    const gradients = Array.from({ length: 50 }, (_, t) => gradientsOf(recorded, trace, t + 1, "float64"));
    const steps = runSteps(made.optimizer, initialOf(recorded, trace, "float64"), gradients, made.learningRate);
    expectTrace(trace, (step) => steps[step - 1].parameters);
  });
});

describe("traces of 50 steps, as one float32 graph of onnxruntime", () => {
  skipWhereAbsent();
  test.each(recorded?.traces ?? [])("$name", async (trace) => {
    if (recorded === undefined) return;
    const made = optimizerOf(`${trace.library}.${trace.class}`, trace.options);
    if (made === undefined) throw new Error(`no optimizer for ${trace.library}.${trace.class}`);
    const gradients = Array.from({ length: 50 }, (_, t) => gradientsOf(recorded, trace, t + 1, "float32"));
    const initial = initialOf(recorded, trace, "float32");
    const steps = await runCompiled(made.optimizer, initial, gradients, made.learningRate);
    expectTrace(trace, (step) => steps[step - 1].parameters);
  });
});
