import { createRandom, fromData, normal, type Tensor, toFloat64 } from "@loomweight/tensor";
import * as ort from "onnxruntime-node";
import { expect, test } from "vitest";
import { assemble } from "../assemble.ts";
import { encodeOnnx } from "../codec/write-onnx.ts";
import { evaluateTrace } from "../evaluate/trace.ts";
import { input } from "../inputs.ts";
import { add, mul, round, tanh } from "../ops/elementwise.ts";
import { matMul } from "../ops/matmul.ts";
import { reduceSum } from "../ops/reduce.ts";
import type { Value } from "../value.ts";
import { checkpoint } from "./checkpoint.ts";
import { customGradient } from "./custom.ts";
import { gradient } from "./gradient.ts";

const layers = 3;
const random = createRandom(3, "checkpoint");
const values = (name: string, shape: number[]): Tensor => {
  const tensor = normal(shape, random.child(name), { deviation: 0.5 });
  return fromData("float32", tensor.data as Float32Array, shape);
};
const feeds: Record<string, Tensor> = { x: values("x", [4, 8]) };
for (let i = 0; i < layers; i++) feeds[`w${i}`] = values(`w${i}`, [8, 8]);

/** tanh layers with residuals; each either kept or computed again. */
function build(again: boolean, nested = false) {
  const x = input("x", "float32", [4, 8]);
  const weights = Array.from({ length: layers }, (_, i) => input(`w${i}`, "float32", [8, 8]));
  let h: Value = x;
  for (const w of weights) {
    // The weight is captured, not passed in.
    const layer = (each: Value) => add(each, tanh(tanh(matMul(each, w))));
    const inner = nested ? (each: Value) => mul(checkpoint(layer, [each]), 1.5) : layer;
    h = again ? checkpoint(inner, [h]) : inner(h);
  }
  const loss = reduceSum(mul(h, h), undefined, false);
  return {
    inputs: [x, ...weights],
    results: { loss, ...gradient(loss, { x, ...Object.fromEntries(weights.map((w, i) => [`w${i}`, w])) }) },
  };
}

const renamed = (results: Record<string, Value>) =>
  Object.fromEntries(Object.entries(results).map(([name, value]) => [`out_${name}`, value]));

async function run(again: boolean, options: ort.InferenceSession.SessionOptions = {}) {
  const { inputs, results } = build(again);
  const model = assemble({ name: "g", inputs, outputs: renamed(results) });
  const session = await ort.InferenceSession.create(await encodeOnnx(model), options);
  const wire = Object.entries(feeds).map(([name, { data, shape }]) => {
    return [name, new ort.Tensor("float32", data as Float32Array, [...shape])] as const;
  });
  const found = await session.run(Object.fromEntries(wire));
  await session.release();
  return { model, found };
}

test("the same gradients to the bit, with each part computed twice", async () => {
  const [kept, again] = [await run(false), await run(true)];
  for (const [name, tensor] of Object.entries(kept.found)) expect(again.found[name].data, name).toEqual(tensor.data);
  const tanhs = (model: typeof kept.model) => model.graph.nodes.filter((node) => node.op === "Tanh").length;
  expect(tanhs(kept.model)).toBe(2 * layers);
  // Twice but for the last Tanh, whose result alone is asked for.
  expect(tanhs(again.model)).toBe(4 * layers);
});

test("onnxruntime does not merge the second computation with the first", async () => {
  const { inputs, results } = build(true);
  const model = await encodeOnnx(assemble({ name: "g", inputs, outputs: renamed(results) }));
  const { mkdtempSync, readFileSync, rmSync } = await import("node:fs");
  const { tmpdir } = await import("node:os");
  const { join } = await import("node:path");
  const folder = mkdtempSync(join(tmpdir(), "loomweight-checkpoint-"));
  const path = join(folder, "optimized.onnx");
  const session = await ort.InferenceSession.create(model, { optimizedModelFilePath: path, logSeverityLevel: 4 });
  await session.release();
  const tanhs =
    readFileSync(path)
      .toString("latin1")
      .match(/"\x04Tanh/g) ?? [];
  rmSync(folder, { recursive: true });
  expect(tanhs.length).toBe(4 * layers);
});

test("parts within parts, and custom gradients inside a part", () => {
  const numbers = (results: Record<string, Value>) =>
    Object.values(evaluateTrace(renamed(results), feeds)).map((each) => [...toFloat64(each)]);
  const [flat, nested] = [build(false, true).results, build(true, true).results];
  expect(numbers(nested)).toEqual(numbers(flat));
  const x = input("x", "float64", []);
  const rounded = (each: Value) =>
    customGradient(
      [each],
      (value) => round(value),
      (dy) => [dy],
    );
  const y = checkpoint((each) => mul(rounded(each), each), [x]);
  const at = { x: fromData("float64", Float64Array.of(2.7), []) };
  expect(evaluateTrace({ y, dx: gradient(y, x) }, at)).toMatchObject({
    y: { data: Float64Array.of(3 * 2.7) },
    dx: { data: Float64Array.of(3 + 2.7) },
  });
});
