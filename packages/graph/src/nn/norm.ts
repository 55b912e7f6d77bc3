import { LoomweightError } from "@loomweight/tensor";
import { customGradient } from "../gradient/custom.ts";
import { add, div, mul, reciprocal, sqrt, sub } from "../ops/elementwise.ts";
import { batchNormalization, layerNormalization } from "../ops/normalize.ts";
import { reduceMean, reduceSum } from "../ops/reduce.ts";
import { reshape } from "../ops/shape.ts";
import type { Value } from "../value.ts";
import { inLayer, optionalParameter, type Parameters, parameterName, parameterOf, sizesOf } from "./parameters.ts";

export interface NormOptions {
  /** Added to the variance before its root. */
  readonly epsilon?: number;
}

/** (x − mean) / √(variance + ε) · weight + bias over the last axes, those of weight. As torch.nn.LayerNorm; ε 1e-5. */
export function layerNorm(
  parameters: Parameters,
  layer: string,
  x: Value,
  { epsilon = 1e-5 }: NormOptions = {},
): Value {
  return inLayer(layer, () => {
    const weight = parameterOf(parameters, layer, "weight");
    const bias = optionalParameter(parameters, layer, "bias");
    return layerNormalization(x, weight, bias, { epsilon, axis: -weight.shape.length });
  });
}

/** x / √(mean(x²) + ε) · weight over the last axis. As torch.nn.RMSNorm and Llama; ε 1e-6. */
export function rmsNorm(parameters: Parameters, layer: string, x: Value, { epsilon = 1e-6 }: NormOptions = {}): Value {
  return inLayer(layer, () => {
    const square = reduceMean(mul(x, x), [x.shape.length - 1]);
    return mul(div(x, sqrt(add(square, epsilon))), parameterOf(parameters, layer, "weight"));
  });
}

/**
 * Normalizes x [batch, channels, …space] over space and the channels of each of `groups`, then weight and bias
 * [channels]. As torch.nn.GroupNorm; ε 1e-5.
 */
export function groupNorm(
  parameters: Parameters,
  layer: string,
  x: Value,
  { groups, epsilon = 1e-5 }: NormOptions & { readonly groups: number },
): Value {
  return inLayer(layer, () => {
    const shape = sizesOf(x, layer);
    const [batch, channels] = shape;
    if (channels % groups !== 0) throw wrongGroups(layer, channels, groups);
    const grouped = reshape(x, [batch, groups, -1]);
    const centred = sub(grouped, reduceMean(grouped, [2]));
    const deviation = sqrt(add(reduceMean(mul(centred, centred), [2]), epsilon));
    return scaleChannels(parameters, layer, reshape(div(centred, deviation), shape));
  });
}

export interface BatchNormOptions extends NormOptions {
  /** Whether statistics are those of the batch, and the running ones move. */
  readonly training: boolean;
  /** Share of the batch in the new running statistics; default 0.1. */
  readonly momentum?: number;
}

/**
 * Normalizes x [batch, channels, …space] per channel; buffers running_mean and running_var [channels] are used outside
 * training and moved in it: pass `updates` on from the loss. As torch.nn.BatchNorm1d, 2d, 3d; ε 1e-5. In training it is
 * built from plain operators, since WebGPU has no BatchNormalization in training mode.
 */
export function batchNorm(
  parameters: Parameters,
  buffers: Parameters,
  layer: string,
  x: Value,
  { training, epsilon = 1e-5, momentum = 0.1 }: BatchNormOptions,
): { output: Value; updates: Record<string, Value> } {
  return inLayer(layer, () => {
    const [mean, variance] = ["running_mean", "running_var"].map((name) => parameterOf(buffers, layer, name));
    const weight = optionalParameter(parameters, layer, "weight");
    const bias = optionalParameter(parameters, layer, "bias");
    // As one operator it is known as such in the file: onnxruntime fuses it, other tools adapt it.
    if (!training && weight !== undefined && bias !== undefined) {
      return { output: batchNormalization(x, weight, bias, mean, variance, { epsilon }), updates: {} };
    }
    const shape = sizesOf(x, layer);
    const channels = shape[1];
    const perChannel = [channels, ...shape.slice(2).map(() => 1)];
    if (!training) {
      const centred = sub(x, reshape(mean, perChannel));
      const deviation = sqrt(add(reshape(variance, perChannel), epsilon));
      return { output: scaleChannels(parameters, layer, div(centred, deviation)), updates: {} };
    }
    const axes = shape.map((_, axis) => axis).filter((axis) => axis !== 1);
    const batchMean = reduceMean(x, axes);
    const centred = sub(x, batchMean);
    const batchVariance = reduceMean(mul(centred, centred), axes);
    const inverse = reciprocal(sqrt(add(batchVariance, epsilon)));
    const normed = throughBatch(x, { centred, inverse, axes, perChannel }, weight);
    const output = bias === undefined ? normed : add(normed, reshape(bias, perChannel));
    // Running variances are unbiased, though the batch is normalized by the biased one.
    const count = axes.reduce((product, axis) => product * shape[axis], 1);
    const moved = (running: Value, batch: Value, factor: number) =>
      add(mul(running, 1 - momentum), mul(reshape(batch, [channels]), momentum * factor));
    return {
      output,
      updates: {
        [parameterName(layer, "running_mean")]: moved(mean, batchMean, 1),
        [parameterName(layer, "running_var")]: moved(variance, batchVariance, count / Math.max(1, count - 1)),
      },
    };
  });
}

/**
 * y = (x − mean) · r · weight with its gradient in few passes over x, where rules operator by operator take twice as
 * many: dx = r · weight · (dy − mean(dy) − (x − mean) r² mean(dy (x − mean))), dweight = r Σ dy (x − mean).
 */
function throughBatch(
  x: Value,
  batch: { centred: Value; inverse: Value; axes: readonly number[]; perChannel: readonly number[] },
  weight: Value | undefined,
): Value {
  const { centred, inverse, axes, perChannel } = batch;
  const gain = weight === undefined ? inverse : mul(inverse, reshape(weight, perChannel));
  const forward = () => mul(centred, gain);
  return customGradient(weight === undefined ? [x] : [x, weight], forward, (dy) => {
    const along = mul(dy, centred);
    const tilt = mul(mul(reduceMean(along, axes), mul(inverse, inverse)), gain);
    const shift = mul(reduceMean(dy, axes), gain);
    const dx = sub(mul(dy, gain), add(mul(centred, tilt), shift));
    if (weight === undefined) return [dx];
    return [dx, reshape(mul(reduceSum(along, axes), inverse), [perChannel[0]])];
  });
}

/** x · weight + bias per channel, where the layer has them. */
function scaleChannels(parameters: Parameters, layer: string, x: Value): Value {
  const perChannel = [Number(x.shape[1]), ...x.shape.slice(2).map(() => 1)];
  const weight = optionalParameter(parameters, layer, "weight");
  const bias = optionalParameter(parameters, layer, "bias");
  const scaled = weight === undefined ? x : mul(x, reshape(weight, perChannel));
  return bias === undefined ? scaled : add(scaled, reshape(bias, perChannel));
}

function wrongGroups(layer: string, channels: number, groups: number): LoomweightError {
  return new LoomweightError({
    code: "INVALID_OPTION",
    option: "groups",
    problem: `${layer}: the channels do not divide into groups`,
    expected: `a divisor of ${channels}`,
    found: `${groups}`,
  });
}
