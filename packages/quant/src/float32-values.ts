import { contiguousData, type Tensor, toFloat32 } from "@loomweight/tensor";

/** The elements row-major as float32, each rounded once: a view where they lie so already. Not to be written to. */
export function float32Values(tensor: Tensor): Float32Array {
  return tensor.dtype === "float32" ? (contiguousData(tensor) as Float32Array) : toFloat32(tensor);
}
