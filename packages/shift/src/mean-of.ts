import { fromFloat64, type Tensor, toFloat64 } from "@loomweight/tensor";

/** Mean of `count` ≥ 1 tensors of one shape, made one after another; summed in float64. */
export async function meanOf(count: number, make: (index: number) => Promise<Tensor>): Promise<Tensor> {
  let sum: Float64Array | undefined;
  for (let i = 0; ; i++) {
    const tensor = await make(i);
    const values = toFloat64(tensor);
    sum ??= new Float64Array(values.length);
    for (let j = 0; j < sum.length; j++) sum[j] += values[j] / count;
    if (i === count - 1) return fromFloat64(sum, tensor.shape, tensor.dtype === "float64" ? "float64" : "float32");
  }
}
