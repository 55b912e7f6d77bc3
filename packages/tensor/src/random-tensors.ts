import type { Random } from "@loomweight/kernels";
import type { FloatDType } from "./dtype.ts";
import { elementCount, type Tensor } from "./tensor.ts";
import { fromFloat64 } from "./values.ts";

/** A tensor of uniform values in low .. high (default 0 .. 1); element i, row-major, is the draw at index i. */
export function uniform<D extends FloatDType = "float32">(
  shape: readonly number[],
  random: Random,
  options: { low?: number; high?: number; dtype?: D } = {},
): Tensor<D> {
  const values = new Float64Array(elementCount(shape));
  random.uniformsInto(values, { low: options.low, high: options.high });
  return fromFloat64(values, shape, (options.dtype ?? "float32") as D);
}

/** A tensor of normal values (default mean 0, deviation 1); element i, row-major, is the draw at index i. */
export function normal<D extends FloatDType = "float32">(
  shape: readonly number[],
  random: Random,
  options: { mean?: number; deviation?: number; dtype?: D } = {},
): Tensor<D> {
  const values = new Float64Array(elementCount(shape));
  random.normalsInto(values, { mean: options.mean, deviation: options.deviation });
  return fromFloat64(values, shape, (options.dtype ?? "float32") as D);
}
