import { abs, cast, clip, div, mul, reduceMax, reduceMean, type Value } from "@loomweight/graph";
import type { Module } from "./module.ts";

/** The same place in the model with weights in float32, whatever the graph computes in. */
export function inFloat32(module: Module): Module {
  return { ...module, weights: module.weights.in("float32") };
}

/** The mean over `axes` in x's dtype, its sum in float32: of many positions it may leave float16's range. */
export function meanInFloat32(x: Value, axes: readonly number[], keepDims: boolean): Value {
  return cast(reduceMean(cast(x, "float32"), axes, keepDims), x.dtype);
}

/** A value of a float32 part of a graph in the dtype that its products are computed in. */
export function narrowed({ weights }: Pick<Module, "weights">, x: Value): Value {
  return cast(x, weights.dtype);
}

/**
 * product(x) in float32 for a product without bias whose input or result may leave float16's range: in half precision each
 * row of x [..., in] is divided by its largest magnitude, where that is above 1, and the result [..., out] multiplied by it.
 */
export function productInRange({ weights }: Pick<Module, "weights">, x: Value, product: (x: Value) => Value): Value {
  if (weights.dtype === "float32") return product(x);
  const wide = cast(x, "float32");
  const largest = clip(reduceMax(abs(wide), [-1], true), 1, undefined);
  return mul(cast(product(cast(div(wide, largest), weights.dtype)), "float32"), largest);
}
