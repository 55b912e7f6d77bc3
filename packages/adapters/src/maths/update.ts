import { add, reshape, transpose, type Value } from "@loomweight/graph";
import { cast, type FloatDType, fromData, type Tensor } from "@loomweight/tensor";
import type { AdapterRandom, LayerInGraph } from "../define.ts";
import type { LayerShape } from "../layer.ts";

/** A weight [out, in] in the layer's stored layout. */
export function storedForm(layer: LayerShape, weight: Value): Value {
  switch (layer.kind) {
    case "linear":
      return weight;
    case "convolution":
      return reshape(weight, layer.storedShape);
    default:
      return transpose(weight, [1, 0]);
  }
}

/** The layer's output with `update` [out, in] added to its weight. */
export function forwardPlus(layer: LayerInGraph, update: Value, x: Value): Value {
  return add(layer.forward(x), layer.operation(x, storedForm(layer, update)));
}

/** The layer's output with `weight` [out, in] instead of its own; the bias stays. */
export function forwardWith(layer: LayerInGraph, weight: Value, x: Value): Value {
  const y = layer.operation(x, storedForm(layer, weight));
  return layer.bias === undefined ? y : add(y, layer.perOutput(layer.bias));
}

/** A constant of the dtype that `like` has: float64 where weights are folded, that of the graph elsewhere. */
export function constantLike(like: Value, values: Float64Array, shape: readonly number[]): Tensor {
  const wide = fromData("float64", values, shape);
  return like.dtype === "float64" ? wide : cast(wide, like.dtype as FloatDType);
}

/** Uniform in ±1/√fanIn, as PyTorch draws the weights of its linear layers (Kaiming with a = √5). */
export function kaimingUniform(
  random: AdapterRandom,
  name: string,
  shape: readonly number[],
  fanIn: number,
): Tensor<"float32"> {
  const bound = 1 / Math.sqrt(Math.max(1, fanIn));
  return random.uniform(name, shape, -bound, bound);
}
