import { elementCount, isFloat, type Tensor, toFloat64 } from "@loomweight/tensor";
import { describe, expect, test } from "vitest";
import { tensorOf } from "../src/evaluate/numbers.ts";
import { evaluateTrace } from "../src/evaluate/trace.ts";
import { gradient } from "../src/gradient/gradient.ts";
import { findGradient, gradientTables } from "../src/gradients/catalogue.ts";
import { input } from "../src/inputs.ts";
import { inferTypesOf, makeNode, type NamedRule, type Sample, typeOf } from "../src/op.ts";
import { findRule, opTables } from "../src/ops/catalogue.ts";
import { add, mul } from "../src/ops/elementwise.ts";
import { reduceSum } from "../src/ops/reduce.ts";
import type { GraphValue, Value } from "../src/value.ts";
import { sampleInputs, samplesOf, sampleTensor } from "./samples.ts";

/** Inputs through which no gradient is taken although they are floats, and why. */
const constantInputs: Readonly<Record<string, readonly number[]>> = {
  Resize: [1, 2], // region and scales say where to read
};

/** Samples whose values lie where the op jumps. */
const onJumps = new Set(["onnx Round #0"]);

/** A fixed pattern without symmetry, so that a swapped axis shows. */
const pattern = (shape: readonly number[], seed: number): Tensor =>
  sampleTensor({ shape, dtype: "float64", low: -1, high: 1 }, seed + 100);

interface Built {
  readonly loss: Value | undefined;
  readonly wanted: readonly GraphValue[];
  readonly feeds: Record<string, Tensor>;
}

/** Σ weight · output over the float outputs, with every float input a graph input in float64. */
function build(rule: NamedRule, sample: Sample): Built {
  const feeds: Record<string, Tensor> = {};
  const wanted: GraphValue[] = [];
  const operands = sampleInputs(sample).map((tensor, index) => {
    if (tensor === undefined || !isFloat(tensor.dtype)) return tensor;
    const wide = tensorOf(Float64Array.from(toFloat64(tensor)), tensor.shape, "float64");
    if (constantInputs[rule.op]?.includes(index)) return tensor;
    const value = input(`x${index}`, "float64", tensor.shape);
    feeds[`x${index}`] = wide;
    if (elementCount(tensor.shape) > 0) wanted.push(value);
    return value;
  });
  const call = {
    op: rule.op,
    domain: rule.domain,
    attributes: sample.attributes ?? {},
    outputs: sample.outputs ?? 1,
    opset: 24,
  };
  const types = inferTypesOf(rule, { ...call, inputs: operands.map((each) => each && typeOf(each)) });
  const outputs = makeNode({ ...call, inputs: operands }, types);
  const terms = outputs
    .filter((output) => isFloat(output.dtype) && output.dtype === "float64")
    .map((output, index) => reduceSum(mul(output, pattern(output.shape as number[], index)), undefined, false));
  return { loss: terms.length === 0 ? undefined : terms.reduce((total, term) => add(total, term)), wanted, feeds };
}

const numbers = (value: Value, feeds: Record<string, Tensor>): Float64Array =>
  toFloat64(evaluateTrace({ value }, feeds).value);

/** dL along one direction of one input, by central differences. */
function slope({ loss, feeds }: Built, name: string, direction: Float64Array): number {
  const step = 1e-6;
  const at = toFloat64(feeds[name]);
  const [after, before] = [step, -step].map((h) => {
    const moved = tensorOf(
      at.map((value, i) => value + h * direction[i]),
      feeds[name].shape,
      "float64",
    );
    return numbers(loss as Value, { ...feeds, [name]: moved })[0];
  });
  return (after - before) / (2 * step);
}

/** One oblique direction, and a few single entries. */
function directions(count: number): Float64Array[] {
  const oblique = Float64Array.from({ length: count }, (_, i) => Math.sin(1 + 2.3 * i));
  const places = new Set([0, count - 1, Math.floor(count / 2), Math.floor(count / 3)]);
  const single = [...places].map((at) => Float64Array.from({ length: count }, (_, i) => (i === at ? 1 : 0)));
  return [oblique, ...single];
}

for (const domain of Object.keys(gradientTables())) {
  const table = opTables()[domain];
  describe(domain === "" ? "standard ops" : domain, () => {
    for (const op of Object.keys(table)) {
      const rule = findRule(opTables(), domain, op) as NamedRule;
      if (findGradient(gradientTables(), domain, op) === undefined || rule.evaluate === undefined) continue;
      for (const { name, sample } of samplesOf(rule)) {
        test(`${name}: gradients are central differences`, (context) => {
          if (onJumps.has(name)) return context.skip("its values lie where the op jumps");
          const built = build(rule, sample);
          if (built.loss === undefined || built.wanted.length === 0)
            return context.skip("no float goes in or comes out");
          const found = gradient(built.loss, built.wanted);
          for (const [index, wanted] of built.wanted.entries()) {
            const gradients = numbers(found[index], built.feeds);
            for (const direction of directions(gradients.length)) {
              const expected = slope(built, wanted.name as string, direction);
              const along = gradients.reduce((total, value, i) => total + value * direction[i], 0);
              if (Number.isNaN(along) && Number.isNaN(expected)) continue; // a power of a negative base has no slope
              const error = Math.abs(along - expected) / Math.max(1, Math.abs(expected));
              expect(error, `input ${wanted.name}: ${along} for ${expected}`).toBeLessThan(1e-6);
            }
          }
        });
        test(`${name}: the gradient has a gradient`, (context) => {
          const built = build(rule, sample);
          if (onJumps.has(name) || built.loss === undefined || built.wanted.length === 0) {
            return context.skip("as above");
          }
          const first = gradient(built.loss, built.wanted);
          const terms = first.map((each, index) => mul(each, pattern(each.shape as number[], index + 7)));
          const sums = terms.map((each) => reduceSum(each, undefined, false));
          const slopes = { ...built, loss: sums.reduce((total, each) => add(total, each)) };
          if (!("kind" in slopes.loss)) return context.skip("the gradient is constant");
          const second = gradient(slopes.loss, built.wanted);
          for (const [index, wanted] of built.wanted.entries()) {
            const found = numbers(second[index], built.feeds);
            const [direction] = directions(found.length);
            const expected = slope(slopes, wanted.name as string, direction);
            const along = found.reduce((total, value, i) => total + value * direction[i], 0);
            if (Number.isNaN(along) && Number.isNaN(expected)) continue;
            const error = Math.abs(along - expected) / Math.max(1, Math.abs(expected));
            expect(error, `input ${wanted.name}: ${along} for ${expected}`).toBeLessThan(1e-5);
          }
        });
      }
    }
  });
}

test("every row has a gradient rule, or a reason to have none", () => {
  const missing = Object.entries(opTables()).flatMap(([domain, table]) =>
    Object.keys(table)
      .filter((op) => findGradient(gradientTables(), domain, op) === undefined)
      .map((op) => (domain === "" ? op : `${domain}.${op}`)),
  );
  expect(missing.sort().join(" ")).toMatchInlineSnapshot(
    `"AffineGrid And BitCast BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor BlackmanWindow CausalConvWithState CenterCropPad Col2Im Compress Constant ConvInteger CumProd DFT DeformConv Det DynamicQuantizeLinear GlobalLpPool GridSample HammingWindow HannWindow ImageDecoder LinearAttention LpPool MatMulInteger MaxRoiPool MaxUnpool MelWeightMatrix Multinomial NonMaxSuppression NonZero Not OneHot Or QLinearConv QLinearMatMul QuantizeLinear RandomNormal RandomUniform Range RegexFullMatch RoiAlign STFT Scatter StringConcat StringNormalizer StringSplit SwiGLU TensorScatter TfIdfVectorizer Unique Upsample Xor ai.onnx.ml.ArrayFeatureExtractor ai.onnx.ml.Binarizer ai.onnx.ml.LabelEncoder ai.onnx.ml.Normalizer ai.onnx.ml.Scaler ai.onnx.ml.TreeEnsemble ai.onnx.preview.FlexAttention ai.onnx.preview.training.Adagrad ai.onnx.preview.training.Adam ai.onnx.preview.training.Momentum com.microsoft.GatherBlockQuantized com.microsoft.MatMulBnb4"`,
  );
});
