import { castIntegers, isWhole, type WholeDType } from "./cast-integers.ts";
import type { DType, Storage } from "./dtype.ts";
import { contiguousData, fromData, type Tensor } from "./tensor.ts";
import { type CastOptions, requireValues, transcode } from "./values.ts";

/**
 * The tensor in another dtype, row-major; the tensor itself where it has that dtype already. Each element is rounded
 * once, whatever the two dtypes are; NaN stays NaN in floats and gives 0 in whole numbers; bool is true for all but 0.
 * int4 and uint4 count as whole numbers. Throws `UNSUPPORTED_DTYPE` for complex64, text and the packed float4 and
 * float6, `UNSUPPORTED_CAST` for options that do not fit.
 */
export function cast<D extends DType>(tensor: Tensor, dtype: D, options: CastOptions = {}): Tensor<D> {
  if (tensor.dtype === dtype) return tensor as Tensor<D>;
  requireValues(tensor.dtype, `cast to ${dtype}`);
  requireValues(dtype, `cast from ${tensor.dtype}`);
  const codes = contiguousData(tensor) as Exclude<Storage, string[]>;
  const result =
    isWhole(tensor.dtype) && isWhole(dtype)
      ? castIntegers(codes as Storage<WholeDType>, dtype as WholeDType, options.overflow ?? "saturate")
      : transcode(codes, tensor.dtype, dtype, options);
  return fromData(dtype, result as Storage<D>, tensor.shape);
}
