import {
  contiguousData,
  type DType,
  dtypeFacts,
  fromData,
  LoomweightError,
  type Storage,
  type Tensor,
} from "@loomweight/tensor";
import { safetensorsNameOfDType } from "./safetensors-dtypes.ts";

/** A tensor over little-endian bytes as a file holds them: not copied where they are aligned and own their buffer. */
export function tensorFromBytes(dtype: DType, shape: readonly number[], bytes: Uint8Array): Tensor {
  const facts = dtypeFacts[dtype];
  const width =
    facts.array === undefined ? 0 : (facts.array as unknown as { BYTES_PER_ELEMENT: number }).BYTES_PER_ELEMENT;
  if (facts.array === undefined || dtype === "int4" || dtype === "uint4") {
    throw new LoomweightError({ code: "UNSUPPORTED_DTYPE", problem: `${dtype} has no byte form of one code a slot` });
  }
  const own = bytes.byteOffset % width === 0 ? bytes : bytes.slice();
  const data = new facts.array(own.buffer, own.byteOffset, own.byteLength / width) as unknown as Storage;
  return fromData(dtype, data, shape);
}

/**
 * The little-endian bytes of a tensor, row-major: a view where it lies so already, else a copy.
 * Throws `UNSUPPORTED_DTYPE` for what safetensors cannot hold (int4, uint4, string).
 */
export function tensorBytes(tensor: Tensor, name?: string): Uint8Array {
  if (safetensorsNameOfDType(tensor.dtype) === undefined) {
    throw new LoomweightError({
      code: "UNSUPPORTED_DTYPE",
      tensor: name,
      problem: `safetensors cannot hold ${tensor.dtype}`,
      fix: "Cast it, or pack it into uint8, before it is written.",
    });
  }
  const data = contiguousData(tensor) as unknown as ArrayBufferView;
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}
