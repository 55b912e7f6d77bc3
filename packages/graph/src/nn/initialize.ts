import { full, normal, type Random, type Tensor, uniform, zeros } from "@loomweight/tensor";
import { type InitialParameters, parameterName } from "./parameters.ts";

/** Tensor `name`, uniform in -bound .. bound; its draws depend on the generator's key and the name alone. */
function within(bound: number, shape: readonly number[], random: Random, name: string): Tensor {
  return uniform(shape, random.child(name), { low: -bound, high: bound });
}

const ones = (shape: readonly number[]): Tensor => full(shape, 1);

/**
 * First weights of `linear`: weight [out, in] and bias [out], both uniform in ±1/√in (Kaiming uniform with a = √5).
 * As torch.nn.Linear.
 */
export function initLinear(
  random: Random,
  layer: string,
  { inputs, outputs, bias = true }: { readonly inputs: number; readonly outputs: number; readonly bias?: boolean },
): InitialParameters {
  const bound = 1 / Math.sqrt(inputs);
  const [weight, offset] = [parameterName(layer, "weight"), parameterName(layer, "bias")];
  return {
    [weight]: within(bound, [outputs, inputs], random, weight),
    ...(bias && { [offset]: within(bound, [outputs], random, offset) }),
  };
}

/** First weights of `embedding`: weight [count, size], normal. As torch.nn.Embedding, whose deviation is 1. */
export function initEmbedding(
  random: Random,
  layer: string,
  { count, size, deviation = 1 }: { readonly count: number; readonly size: number; readonly deviation?: number },
): InitialParameters {
  const name = parameterName(layer, "weight");
  return { [name]: normal([count, size], random.child(name), { deviation }) };
}

/**
 * First weights of `convolution`: weight [out, in / groups, …kernel] and bias [out], both uniform in ±1/√fanIn. As
 * torch.nn.Conv1d, Conv2d, Conv3d.
 */
export function initConvolution(
  random: Random,
  layer: string,
  options: {
    readonly inputs: number;
    readonly outputs: number;
    /** One size per axis of space. */
    readonly kernel: readonly number[];
    readonly groups?: number;
    readonly bias?: boolean;
  },
): InitialParameters {
  const { inputs, outputs, kernel, groups = 1, bias = true } = options;
  const shape = [outputs, inputs / groups, ...kernel];
  const bound = 1 / Math.sqrt(shape.slice(1).reduce((product, size) => product * size, 1));
  const [weight, offset] = [parameterName(layer, "weight"), parameterName(layer, "bias")];
  return {
    [weight]: within(bound, shape, random, weight),
    ...(bias && { [offset]: within(bound, [outputs], random, offset) }),
  };
}

/** First weights of a normalization: weight of ones and, unless `bias` is false, bias of zeros, [size]. */
export function initNorm(
  layer: string,
  { size, bias = true }: { readonly size: number; readonly bias?: boolean },
): InitialParameters {
  return {
    [parameterName(layer, "weight")]: ones([size]),
    ...(bias && { [parameterName(layer, "bias")]: zeros([size]) }),
  };
}

/** First running statistics of `batchNorm`: mean of zeros, variance of ones, [size]. They are buffers. */
export function initRunningStatistics(layer: string, { size }: { readonly size: number }): InitialParameters {
  return {
    [parameterName(layer, "running_mean")]: zeros([size]),
    [parameterName(layer, "running_var")]: ones([size]),
  };
}

/**
 * First weights of `lstm` or `gru`: weight_ih_l0 [gates · hidden, inputs], weight_hh_l0 [gates · hidden, hidden] and
 * their biases, uniform in ±1/√hidden; layer k has `_lk`. As torch.nn.LSTM and GRU.
 */
export function initRecurrent(
  random: Random,
  layer: string,
  options: {
    readonly kind: "lstm" | "gru";
    readonly inputs: number;
    readonly hidden: number;
    readonly layers?: number;
    readonly bias?: boolean;
  },
): InitialParameters {
  const { kind, inputs, hidden, layers = 1, bias = true } = options;
  const gates = kind === "lstm" ? 4 : 3;
  const bound = 1 / Math.sqrt(hidden);
  const parameters: InitialParameters = {};
  for (let index = 0; index < layers; index++) {
    const shapes: Record<string, number[]> = {
      [`weight_ih_l${index}`]: [gates * hidden, index === 0 ? inputs : hidden],
      [`weight_hh_l${index}`]: [gates * hidden, hidden],
      ...(bias && { [`bias_ih_l${index}`]: [gates * hidden], [`bias_hh_l${index}`]: [gates * hidden] }),
    };
    for (const [name, shape] of Object.entries(shapes)) {
      const full = parameterName(layer, name);
      parameters[full] = within(bound, shape, random, full);
    }
  }
  return parameters;
}
