import { type Tensor, toFloat64 } from "@loomweight/tensor";
import * as ort from "onnxruntime-node";
import { describe, expect, test } from "vitest";
import { assemble } from "../src/assemble.ts";
import { encodeOnnx } from "../src/codec/write-onnx.ts";
import { apply, evaluateCall, inferTypesOf, makeNode, type NamedRule, type Sample, typeOf } from "../src/op.ts";
import { opTables } from "../src/ops/catalogue.ts";
import type { Value } from "../src/value.ts";
import { inDtype, sampleInputs, sampleOperands, samplesOf, sampleTensor } from "./samples.ts";

// Ops that are ONNX's own only since a later opset.
const firstOpset: Readonly<Record<string, number>> = {
  RMSNormalization: 23,
  RotaryEmbedding: 23,
  Swish: 24,
  Attention: 24,
};
const opsetOf = ({ op, domain }: NamedRule): number => (domain === "" ? (firstOpset[op] ?? 21) : 21);

function callOf(rule: NamedRule, sample: Sample) {
  return {
    op: rule.op,
    domain: rule.domain,
    attributes: sample.attributes ?? {},
    outputs: sample.outputs ?? 1,
    opset: 21,
  };
}

/** The op alone in a graph, as nodes whatever is constant, run by onnxruntime. */
async function runNatively(rule: NamedRule, sample: Sample, tensors: readonly (Tensor | undefined)[]) {
  const { operands, inputs, feeds } = sampleOperands(sample, tensors);
  const call = { ...callOf(rule, sample), inputs: operands };
  const types = inferTypesOf(rule, { ...call, inputs: operands.map((each) => each && typeOf(each)) });
  const outputs: Record<string, Value> = {};
  for (const [index, value] of makeNode(call, types).entries()) outputs[`y${index}`] = value;
  const model = assemble({ name: "op", inputs, outputs, opset: opsetOf(rule) });
  const session = await ort.InferenceSession.create(await encodeOnnx(model), { graphOptimizationLevel: "disabled" });
  const results = await session.run(
    Object.fromEntries(
      Object.entries(feeds).map(([name, { dtype, data, shape }]) => [
        name,
        new ort.Tensor(dtype as "float32", data as Float32Array, [...shape]),
      ]),
    ),
  );
  await session.release();
  return { types, results };
}

const numbers = (data: unknown): number[] => Array.from(data as ArrayLike<number | bigint>, Number);

function expectNear(found: readonly number[], expected: readonly number[], tolerance: number, what: string): void {
  expect(found.length, what).toBe(expected.length);
  const scale = Math.max(1e-30, ...expected.filter(Number.isFinite).map(Math.abs));
  for (let i = 0; i < expected.length; i++) {
    if (Object.is(found[i], expected[i]) || found[i] === expected[i]) continue;
    expect(
      Math.abs(found[i] - expected[i]) / scale,
      `${what} [${i}]: ${found[i]} for ${expected[i]}`,
    ).toBeLessThanOrEqual(tolerance);
  }
}

for (const [domain, table] of Object.entries(opTables())) {
  // Types alone are known of these domains.
  if (Object.values(table).every((row) => row.samples.length === 0)) continue;
  describe(domain === "" ? "standard ops" : domain, () => {
    for (const [op, row] of Object.entries(table)) {
      const rule = { ...row, op, domain };
      for (const { name, sample } of samplesOf(rule)) {
        test(`${name}: types and values are those of onnxruntime`, async () => {
          const tensors = sampleInputs(sample);
          const { types, results } = await runNatively(rule, sample, tensors);
          for (const [index, { dtype, shape }] of types.entries()) {
            const result = results[`y${index}`];
            expect(result.type, `dtype of output ${index}`).toBe(dtype);
            expect(result.dims, `shape of output ${index}`).toEqual(shape);
          }
          if (rule.evaluate === undefined) return;
          const constants = { ...callOf(rule, sample), inputs: tensors };
          const constantTypes = inferTypesOf(rule, {
            ...constants,
            inputs: tensors.map((each) => each && typeOf(each)),
          });
          for (const [index, tensor] of evaluateCall(rule, constants, constantTypes).entries()) {
            const what = `output ${index}`;
            expect({ dtype: tensor.dtype, shape: tensor.shape }, what).toEqual({
              dtype: types[index].dtype,
              shape: types[index].shape,
            });
            const found =
              tensor.dtype === "float16" ? Array.from(tensor.data as Uint16Array) : numbers(toFloat64(tensor));
            expectNear(found, numbers(results[`y${index}`].data), sample.tolerance ?? 1e-5, what);
          }
        });
      }
      const [sample] = row.samples;
      const first = sample?.inputs[0];
      if (first === undefined) continue;
      test(`${op}: a symbolic first operand adds a node of that name`, (context) => {
        if (["Shape", "Size", "ConstantOfShape", "Range"].includes(op)) context.skip("follows from the known shape");
        const tensors = sampleInputs(sample);
        const { operands } = sampleOperands({ ...sample, constants: tensors.map((_, i) => i).slice(1) }, tensors);
        const [value] = apply(rule, operands, { attributes: sample.attributes, outputs: sample.outputs });
        expect("kind" in value && value.node?.op).toBe(op);
        expect("kind" in value && value.node?.attributes).toEqual(sample.attributes ?? {});
      });
      const inFloat32 = sampleTensor(first, 0).dtype === "float32";
      if (!inFloat32 || rule.evaluate === undefined || op.startsWith("DynamicQuantize") || op === "QuantizeLinear")
        continue;
      test(`${op}: float64 operands are computed in float64`, () => {
        const narrow = sampleInputs(sample);
        const wide = narrow.map((each) => (each?.dtype === "float32" ? inDtype(each, "float64") : each));
        const call = callOf(rule, sample);
        const [before, after] = [narrow, wide].map((inputs) => {
          const types = inferTypesOf(rule, { ...call, inputs: inputs.map((each) => each && typeOf(each)) });
          return evaluateCall(rule, { ...call, inputs }, types)[0];
        });
        if (before.dtype !== "float32" || op === "Cast") return expect(after).toEqual(before);
        expect(after.dtype).toBe("float64");
        expectNear(numbers(toFloat64(after)), numbers(toFloat64(before)), 1e-6, "float64");
      });
    }
  });
}
