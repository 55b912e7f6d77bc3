import { join } from "node:path";
import { fixtureArea, readFixtureJson, readFixtureTensors } from "@loomweight/fixtures";
import { cast, fromData, type Tensor, toFloat64 } from "@loomweight/tensor";
import * as ort from "onnxruntime-node";
import { describe, expect, test } from "vitest";
import { assemble } from "../src/assemble.ts";
import { encodeOnnx } from "../src/codec/write-onnx.ts";
import { tensorOf } from "../src/evaluate/numbers.ts";
import { evaluateTrace } from "../src/evaluate/trace.ts";
import { gradient } from "../src/gradient/gradient.ts";
import { input } from "../src/inputs.ts";
import type { GraphValue, Value } from "../src/value.ts";
import { difference } from "./gradient-cases.ts";
import { adamW, forwardOf, inputsFor, type ModelTrace } from "./gradient-models.ts";

type Tensors = Record<string, Tensor>;
type Dtype = "float64" | "float32";

/** The whole training step of a model: forward, backward and AdamW in one graph. */
function trainingStep(trace: ModelTrace, parameters: Tensors, batch: Tensors, state: Tensors) {
  const p = inputsFor(parameters, "p.");
  const [m, v] = [inputsFor(parameters, "m."), inputsFor(parameters, "v.")];
  const b = inputsFor(batch);
  const s = inputsFor(state);
  const { dtype } = Object.values(parameters)[0];
  const corrections = { first: input("correction1", dtype, []), second: input("correction2", dtype, []) };
  const { loss, activations, state: nextState } = forwardOf(trace, p, b, s);
  const gradients = gradient(loss, p);
  const results: Record<string, Value> = { loss };
  for (const [name, value] of Object.entries({ ...activations, ...nextState })) results[`act.${name}`] = value;
  for (const name of Object.keys(p)) {
    const next = adamW(trace.adamw, p[name], gradients[name], m[name], v[name], corrections);
    results[`g.${name}`] = gradients[name];
    results[`p.${name}.next`] = next.p;
    results[`m.${name}.next`] = next.m;
    results[`v.${name}.next`] = next.v;
  }
  const inputs: GraphValue[] = [p, m, v, b, s].flatMap((each) => Object.values(each));
  return { inputs: [...inputs, corrections.first, corrections.second], results };
}

type Run = (feeds: Tensors) => Promise<Tensors>;

async function onnxruntimeRun(inputs: readonly GraphValue[], results: Record<string, Value>): Promise<Run> {
  const model = assemble({ name: "step", inputs, outputs: results });
  const session = await ort.InferenceSession.create(await encodeOnnx(model), { logSeverityLevel: 3 });
  return async (feeds) => {
    const wire = Object.entries(feeds).map(([name, { dtype, data, shape }]) => {
      return [name, new ort.Tensor(dtype as "float32", data as Float32Array, [...shape])] as const;
    });
    const found = await session.run(Object.fromEntries(wire));
    return Object.fromEntries(
      Object.entries(found).map(([name, { type, data, dims }]) => [
        name,
        fromData(type as "float32", Float32Array.from(data as Float32Array), [...dims]),
      ]),
    );
  };
}

async function replay(trace: ModelTrace, tensors: ReadonlyMap<string, Tensor>, dtype: Dtype) {
  const named = (keys: Readonly<Record<string, string>>): Tensors =>
    Object.fromEntries(
      Object.entries(keys).map(([name, key]) => {
        const tensor = tensors.get(key) as Tensor;
        return [name, tensor.dtype === "float64" ? cast(tensor, dtype) : tensor];
      }),
    );
  const fill = (value: number, shape: readonly number[]) =>
    tensorOf(new Float64Array(shape.reduce((a, b) => a * b, 1)).fill(value), shape, dtype);
  let parameters = named(trace.initial);
  const batch = named(trace.batch);
  let state: Tensors = Object.fromEntries(
    Object.entries(named(trace.activationsAtStep0))
      .filter(([name]) => name.includes("running"))
      .map(([name, { shape }]) => [name, fill(name.endsWith("var") ? 1 : 0, shape)]),
  );
  const { inputs, results } = trainingStep(trace, parameters, batch, state);
  const run: Run =
    dtype === "float64" ? async (feeds) => evaluateTrace(results, feeds) : await onnxruntimeRun(inputs, results);
  let moments: Tensors = {};
  for (const [name, { shape }] of Object.entries(parameters)) {
    moments[`m.${name}`] = fill(0, shape);
    moments[`v.${name}`] = fill(0, shape);
  }
  const losses: number[] = [];
  const [b1, b2] = trace.adamw.betas;
  let first: Tensors = {};
  let last: Tensors = {};
  for (let step = 1; step <= 6; step++) {
    const feeds: Tensors = {
      ...Object.fromEntries(Object.entries(parameters).map(([name, tensor]) => [`p.${name}`, tensor])),
      ...moments,
      ...batch,
      ...state,
      correction1: fill(1 - b1 ** step, []),
      correction2: fill(1 - b2 ** step, []),
    };
    last = await run(feeds);
    if (step === 1) first = last;
    losses.push(toFloat64(last.loss)[0]);
    if (step === 6) break;
    parameters = Object.fromEntries(Object.keys(parameters).map((name) => [name, last[`p.${name}.next`]]));
    moments = Object.fromEntries(Object.keys(moments).map((name) => [name, last[`${name}.next`]]));
    state = Object.fromEntries(Object.keys(state).map((name) => [name, last[`act.${name}`]]));
  }
  return { losses, first, last, parameters, state };
}

const folder = fixtureArea("gradients");

describe.skipIf(folder === undefined)("whole models, five AdamW steps", () => {
  const file =
    folder === undefined
      ? { file: "", models: [] }
      : readFixtureJson<{ file: string; models: ModelTrace[] }>(join(folder, "models.json"));
  const tensors = folder === undefined ? new Map<string, Tensor>() : readFixtureTensors(join(folder, file.file));
  for (const trace of file.models) {
    for (const dtype of ["float64", "float32"] as const) {
      test(`${trace.name}: ${dtype === "float64" ? "in float64" : "by onnxruntime in float32"}`, async () => {
        const wide = dtype === "float64";
        const recorded = (key: string) => tensors.get(key) as Tensor;
        const { losses, first, last, parameters, state } = await replay(trace, tensors, dtype);
        const expected = [...trace.losses, trace.lossAfterFiveSteps];
        for (const [step, loss] of losses.entries()) {
          expect(Math.abs(loss - expected[step]), `loss ${step}`).toBeLessThanOrEqual(wide ? 1e-9 : 1e-5);
        }
        for (const [name, key] of Object.entries(trace.gradientsAtStep0)) {
          const largest = Math.max(...toFloat64(recorded(key)).map(Math.abs));
          const found = toFloat64(first[`g.${name}`]);
          const worst = toFloat64(recorded(key)).reduce(
            (most, value, i) => Math.max(most, Math.abs(value - found[i])),
            0,
          );
          expect(worst, `gradient of ${name}`).toBeLessThanOrEqual(wide ? 1e-9 : 1e-4 * largest);
        }
        for (const [name, key] of Object.entries(trace.activationsAtStep0)) {
          const found = toFloat64(first[`act.${name}`]);
          expect(difference(found, recorded(key), "largest"), name).toBeLessThanOrEqual(wide ? 1e-9 : 2e-5);
        }
        for (const [name, key] of Object.entries(trace.activationsAfter)) {
          const found = toFloat64(name.includes("running") ? state[name] : last[`act.${name}`]);
          expect(difference(found, recorded(key), "largest"), `${name} after`).toBeLessThanOrEqual(wide ? 1e-9 : 1e-3);
        }
        for (const [name, key] of Object.entries(trace.afterFiveSteps)) {
          const slope = toFloat64(recorded(trace.gradientsAtStep0[name]));
          const found = toFloat64(parameters[name]);
          const worst = toFloat64(recorded(key)).reduce(
            // A gradient that is 0 in exact arithmetic is noise over noise in Adam's quotient.
            (most, value, i) => (Math.abs(slope[i]) < 1e-7 ? most : Math.max(most, Math.abs(value - found[i]))),
            0,
          );
          expect(worst, `${name} after`).toBeLessThanOrEqual(wide ? 1e-9 : 0.05 * trace.adamw.lr);
        }
      });
    }
  }
});
