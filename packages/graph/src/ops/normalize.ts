import { elementCount, isFloat, type Tensor } from "@loomweight/tensor";
import { float, int, intOf } from "../attributes.ts";
import { normalizeAxis } from "../dims.ts";
import { elementsOf, tensorOf } from "../evaluate/numbers.ts";
import { applyOne, type ConstantCall, defineOps, type OpRule, ruleOf, type ValueType } from "../op.ts";
import type { Value } from "../value.ts";
import { dtypeMismatch, inputOf, requireFloat } from "./same-dtype.ts";
import { attributeNumber } from "./unary.ts";

/**
 * Over the axes from `axis` on: y = (x − mean) / √(variance + ε) · scale + bias, or without the mean
 * y = x / √(mean(x²) + ε) · scale.
 */
function normalization(centered: boolean, otherwise: number): OpRule {
  return {
    inputs: [2, centered ? 3 : 2],
    infer(call) {
      requireFloat(call, 0);
      const { dtype, shape } = inputOf(call, 0);
      if (!isFloat(inputOf(call, 1).dtype)) throw dtypeMismatch(call, "a floating-point scale", inputOf(call, 1).dtype);
      const axis = normalizeAxis(intOf(call, "axis", -1), shape.length, call.op);
      const statistics = shape.map((dim, at) => (at < axis ? dim : 1));
      const wide = dtype === "float64" ? "float64" : "float32";
      const types: ValueType[] = [
        { dtype: inputOf(call, 1).dtype, shape },
        { dtype: wide, shape: statistics },
        { dtype: wide, shape: statistics },
      ];
      return [{ ...types[0], dtype: centered ? dtype : types[0].dtype }, ...types.slice(1)].slice(
        0,
        Math.max(1, call.outputs),
      );
    },
    evaluate: (call) => evaluateNormalization(call, centered, otherwise),
    samples: [
      { inputs: [[2, 3, 4], [4], ...(centered ? [[4]] : [])] },
      { inputs: [[2, 3, 4], [3, 4], ...(centered ? [[3, 4]] : [])], attributes: { axis: int(1), epsilon: float(0.1) } },
      { inputs: [[2, 4], [4]] },
    ],
  };
}

function evaluateNormalization(call: ConstantCall, centered: boolean, otherwise: number): readonly Tensor[] {
  const [x, scale, bias] = call.inputs as [Tensor, Tensor, Tensor | undefined];
  const epsilon = attributeNumber(call, "epsilon", otherwise);
  const axis = normalizeAxis(intOf(call, "axis", -1), x.shape.length, call.op);
  const width = elementCount(x.shape.slice(axis));
  const data = elementsOf(x);
  const [gain, shift] = [elementsOf(scale), bias && elementsOf(bias)];
  const out = new Float64Array(data.length);
  const [means, inverses] = [new Float64Array(data.length / width), new Float64Array(data.length / width)];
  for (let start = 0; start < data.length; start += width) {
    let mean = 0;
    if (centered) {
      for (let i = 0; i < width; i++) mean += data[start + i];
      mean /= width;
    }
    let square = 0;
    for (let i = 0; i < width; i++) square += (data[start + i] - mean) ** 2;
    const inverse = 1 / Math.sqrt(square / width + epsilon);
    means[start / width] = mean;
    inverses[start / width] = inverse;
    for (let i = 0; i < width; i++) {
      const normed = (data[start + i] - mean) * inverse * gain[i % gain.length];
      out[start + i] = shift === undefined ? normed : normed + shift[i % shift.length];
    }
  }
  const results = centered ? [out, means, inverses] : [out, inverses];
  return call.types.map(({ dtype, shape }, index) => tensorOf(results[index], shape, dtype));
}

/** Statistics of the batch, and the running ones brought nearer to them; y as with recorded statistics. */
function evaluateBatchTraining(call: ConstantCall): readonly Tensor[] {
  const [x, scale, bias, mean, variance] = (call.inputs as Tensor[]).map(elementsOf);
  const { shape } = call.types[0];
  const epsilon = attributeNumber(call, "epsilon", 1e-5);
  const momentum = attributeNumber(call, "momentum", 0.9);
  const [channels, inner] = [shape[1], elementCount(shape.slice(2))];
  const count = shape[0] * inner;
  const out = new Float64Array(x.length);
  const running = [new Float64Array(channels), new Float64Array(channels)];
  for (let channel = 0; channel < channels; channel++) {
    const places = function* () {
      for (let batch = 0; batch < shape[0]; batch++) {
        for (let i = 0; i < inner; i++) yield (batch * channels + channel) * inner + i;
      }
    };
    let [average, square] = [0, 0];
    for (const at of places()) average += x[at] / count;
    for (const at of places()) square += (x[at] - average) ** 2 / count;
    const gain = scale[channel] / Math.sqrt(square + epsilon);
    for (const at of places()) out[at] = (x[at] - average) * gain + bias[channel];
    running[0][channel] = mean[channel] * momentum + average * (1 - momentum);
    running[1][channel] = variance[channel] * momentum + square * (1 - momentum);
  }
  return call.types.map((type, index) => tensorOf(index === 0 ? out : running[index - 1], type.shape, type.dtype));
}

/** Normalizations over the last axes, and over channels. */
export const normalizeOps = /* @__PURE__ */ defineOps({
  LayerNormalization: normalization(true, 1e-5),
  /** onnxruntime's, in the standard domain: the root-mean-square form with opset 21 and before. */
  SimplifiedLayerNormalization: normalization(false, 1e-5),
  /** Standard since opset 23. */
  RMSNormalization: normalization(false, 1e-5),
  BatchNormalization: {
    inputs: [5, 5],
    infer(call) {
      requireFloat(call, 0);
      const { dtype, shape } = inputOf(call, 0);
      return [
        { dtype, shape },
        ...[3, 4].slice(0, Math.max(0, call.outputs - 1)).map((index) => {
          const { dtype, shape } = inputOf(call, index);
          return { dtype, shape };
        }),
      ];
    },
    evaluate(call) {
      const [x, scale, bias, mean, variance] = (call.inputs as Tensor[]).map(elementsOf);
      const { dtype, shape } = call.types[0];
      if (intOf(call, "training_mode", 0) === 1) return evaluateBatchTraining(call);
      const epsilon = attributeNumber(call, "epsilon", 1e-5);
      const inner = elementCount(shape.slice(2));
      const out = new Float64Array(x.length);
      for (let i = 0; i < x.length; i++) {
        const channel = Math.floor(i / inner) % shape[1];
        out[i] = ((x[i] - mean[channel]) / Math.sqrt(variance[channel] + epsilon)) * scale[channel] + bias[channel];
      }
      return [tensorOf(out, shape, dtype)];
    },
    samples: [
      { inputs: [[2, 3, 2, 2], [3], [3], [3], { shape: [3], low: 0.5, high: 2 }] },
      {
        inputs: [[4, 3, 2], [3], [3], [3], { shape: [3], low: 0.5, high: 2 }],
        attributes: { training_mode: int(1), momentum: float(0.8) },
        outputs: 3,
      },
    ],
  },
});

interface NormalizationOptions {
  /** First of the axes that are normalized; default -1, the last. */
  readonly axis?: number;
  /** Default 1e-5. */
  readonly epsilon?: number;
}

/** (x − mean) / √(variance + ε) · scale + bias, statistics over the axes from `axis` on */
export function layerNormalization(x: Tensor, scale: Tensor, bias?: Tensor, options?: NormalizationOptions): Tensor;
export function layerNormalization(x: Value, scale: Value, bias?: Value, options?: NormalizationOptions): Value;
export function layerNormalization(
  x: Value,
  scale: Value,
  bias?: Value,
  { axis = -1, epsilon = 1e-5 }: NormalizationOptions = {},
): Value {
  const attributes = { axis: int(axis), epsilon: float(epsilon) };
  return applyOne(ruleOf(normalizeOps, "LayerNormalization"), [x, scale, bias], attributes);
}

/**
 * x / √(mean(x²) + ε) · scale over the last axis: onnxruntime's operator for opsets before 23, known to its CPU, WASM
 * and WebGPU providers.
 */
export function simplifiedLayerNormalization(x: Tensor, scale: Tensor, options?: NormalizationOptions): Tensor;
export function simplifiedLayerNormalization(x: Value, scale: Value, options?: NormalizationOptions): Value;
export function simplifiedLayerNormalization(
  x: Value,
  scale: Value,
  { axis = -1, epsilon = 1e-5 }: NormalizationOptions = {},
): Value {
  const attributes = { axis: int(axis), epsilon: float(epsilon), stash_type: int(1) };
  return applyOne(ruleOf(normalizeOps, "SimplifiedLayerNormalization"), [x, scale], attributes);
}

/** The same as ONNX's own operator; needs opset 23: `assemble({ opset: 23 })`. */
export function rmsNormalization(x: Tensor, scale: Tensor, options?: NormalizationOptions): Tensor;
export function rmsNormalization(x: Value, scale: Value, options?: NormalizationOptions): Value;
export function rmsNormalization(
  x: Value,
  scale: Value,
  { axis = -1, epsilon = 1e-5 }: NormalizationOptions = {},
): Value {
  return applyOne(ruleOf(normalizeOps, "RMSNormalization"), [x, scale], { axis: int(axis), epsilon: float(epsilon) });
}

/** (x − mean) / √(variance + ε) · scale + bias per channel (axis 1), with recorded statistics */
export function batchNormalization(
  x: Value,
  scale: Value,
  bias: Value,
  mean: Value,
  variance: Value,
  { epsilon = 1e-5 }: { readonly epsilon?: number } = {},
): Value {
  const attributes = { epsilon: float(epsilon) };
  return applyOne(ruleOf(normalizeOps, "BatchNormalization"), [x, scale, bias, mean, variance], attributes);
}
