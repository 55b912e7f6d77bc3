import { cast, type Tensor } from "@loomweight/tensor";
import { float32Values } from "./float32-values.ts";

/**
 * A float tensor in float16 without losing a value to 0 or infinity: nonzero magnitudes below the smallest subnormal
 * become it (2^-24), finite ones above 65504 become 65504. 0, infinity, NaN and signs stay; the rest is rounded half to
 * even. A float16 tensor is returned as it is.
 * Source: onnxruntime `convert_np_to_float16`.
 */
export function toFloat16Clamped(tensor: Tensor): Tensor<"float16"> {
  if (tensor.dtype === "float16") return tensor as Tensor<"float16">;
  const values = float32Values(tensor);
  const converted = cast(tensor, "float16");
  clampFloat16Codes(converted.data, values);
  return converted;
}

/** Takes back where rounding `values` to float16 codes gave 0 or infinity. */
export function clampFloat16Codes(codes: Uint16Array, values: ArrayLike<number>): void {
  for (let i = 0; i < codes.length; i++) {
    const size = codes[i] & 0x7fff;
    if (size === 0 && values[i] !== 0) codes[i] |= 1;
    else if (size === 0x7c00 && Math.abs(values[i]) < Number.POSITIVE_INFINITY) codes[i] = (codes[i] & 0x8000) | 0x7bff;
  }
}
