import ndarray, { type NdArray } from "ndarray";
import { dtypeFacts, type Storage } from "./dtype.ts";
import { LoomweightError } from "./errors.ts";
import type { Tensor } from "./tensor.ts";

/**
 * The tensor as a scijs `ndarray` over the same memory, for the many packages that speak it. float16, bfloat16 and
 * float8 elements appear as their codes: `cast` to float32 first for values. Made on demand, because ndarray builds its
 * classes with `new Function`, which strict content security policies forbid. Throws `UNSUPPORTED_DTYPE` for complex64,
 * packed floats and text.
 */
export function view(tensor: Tensor): NdArray<Exclude<Storage, string[] | BigInt64Array | BigUint64Array>> {
  const { kind } = dtypeFacts[tensor.dtype];
  if (kind === "complex" || kind === "packed" || kind === "text") {
    throw new LoomweightError({
      code: "UNSUPPORTED_DTYPE",
      problem: "ndarray cannot hold these elements one per slot",
      found: tensor.dtype,
    });
  }
  const data = tensor.data as Exclude<Storage, string[] | BigInt64Array | BigUint64Array>;
  return ndarray(data, [...tensor.shape], [...tensor.stride], tensor.offset);
}
