import { conv } from "../ops/convolution.ts";
import type { Value } from "../value.ts";
import { inLayer, optionalParameter, type Parameters, parameterOf } from "./parameters.ts";

export interface ConvolutionOptions {
  /** One number for every axis, or one each; default 1. */
  readonly stride?: number | readonly number[];
  /** Zeros on both sides of every axis; default 0. */
  readonly padding?: number | readonly number[];
  readonly dilation?: number | readonly number[];
  readonly groups?: number;
}

/**
 * Convolution over x [batch, in, …space] by weight [out, in / groups, …kernel] and bias [out] where there is one. As
 * torch.nn.Conv1d, Conv2d, Conv3d.
 */
export function convolution(
  parameters: Parameters,
  layer: string,
  x: Value,
  { stride = 1, padding = 0, dilation = 1, groups = 1 }: ConvolutionOptions = {},
): Value {
  return inLayer(layer, () => {
    const weight = parameterOf(parameters, layer, "weight");
    const each = (value: number | readonly number[]) =>
      typeof value === "number" ? new Array<number>(weight.shape.length - 2).fill(value) : value;
    return conv(x, weight, optionalParameter(parameters, layer, "bias"), {
      strides: each(stride),
      pads: [...each(padding), ...each(padding)],
      dilations: each(dilation),
      group: groups,
    });
  });
}
