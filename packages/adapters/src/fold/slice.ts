import { fromData, type Tensor } from "@loomweight/tensor";
import type { ParamDim, ParamShape } from "../define.ts";
import { type LayerShape, storedAxis } from "../layer.ts";

/** Stored rows [start, end) of a layer's weight, and the layer that they make up alone. */
export function sliceLayer(layer: LayerShape, start: number, end: number): LayerShape {
  return { ...layer, [storedAxis(layer)]: end - start };
}

/** The part of a parameter that belongs to positions [start, end) of an axis; all of it where it does not run along it. */
export function sliceParam(tensor: Tensor, shape: ParamShape, along: "in" | "out", start: number, end: number): Tensor {
  let sliced = tensor;
  shape.forEach((dim, axis) => {
    const per = stepOf(dim, along);
    if (per === 0) return;
    const first = Math.floor(start / per);
    const last = Math.min(Math.ceil(end / per), sliced.shape[axis]);
    sliced = {
      ...sliced,
      shape: sliced.shape.map((size, each) => (each === axis ? last - first : size)),
      offset: sliced.offset + first * sliced.stride[axis],
    };
  });
  return sliced;
}

function stepOf(dim: ParamDim, along: "in" | "out"): number {
  if (typeof dim === "number") return 0;
  if (typeof dim === "string") return dim === along ? 1 : 0;
  return dim.along === along ? dim.per : 0;
}

/** Stored rows as the matrix [out, in] that methods see: a view, transposed where the storage is. */
export function asMatrix(layer: LayerShape, values: Float64Array): Tensor<"float64"> {
  if (storedAxis(layer) === "out") return fromData("float64", values, [layer.out, layer.in]);
  return { dtype: "float64", data: values, shape: [layer.out, layer.in], stride: [1, layer.out], offset: 0 };
}

/** [out, in] back in stored order, as a view. */
export function asStored(layer: LayerShape, matrix: Tensor): Tensor {
  if (storedAxis(layer) === "out") return matrix;
  return { ...matrix, shape: [matrix.shape[1], matrix.shape[0]], stride: [matrix.stride[1], matrix.stride[0]] };
}
