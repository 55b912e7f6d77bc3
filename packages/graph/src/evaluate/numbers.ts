import {
  cast,
  contiguousData,
  type DType,
  dtypeFacts,
  elementCount,
  fromData,
  fromFloat64,
  isFloat,
  LoomweightError,
  type Storage,
  type Tensor,
  toFloat64,
} from "@loomweight/tensor";

/** 64-bit integers, which a float64 cannot hold. */
export type BigStorage = BigInt64Array | BigUint64Array;

export const isBig = (dtype: DType): dtype is "int64" | "uint64" => dtype === "int64" || dtype === "uint64";

/** The values of a tensor row-major in float64; a view where it holds just those. Throws `UNSUPPORTED_DTYPE`. */
export function elementsOf(tensor: Tensor): Float64Array {
  return tensor.dtype === "float64" ? contiguousData(tensor as Tensor<"float64">) : toFloat64(tensor);
}

/** Codes of a 64-bit integer tensor, row-major. */
export function bigElementsOf(tensor: Tensor): BigStorage {
  return contiguousData(tensor) as BigStorage;
}

/** A tensor of `dtype` from float64 values, each rounded once; whole numbers are truncated and wrap. */
export function tensorOf<D extends DType>(values: Float64Array, shape: readonly number[], dtype: D): Tensor<D> {
  if (dtype === "float32") return fromData<DType>(dtype, new Float32Array(values), shape) as Tensor<D>;
  const floating = isFloat(dtype) || dtype === "bool";
  return fromFloat64(values, shape, dtype, floating ? {} : { overflow: "wrap" });
}

/** A tensor from plain numbers. Throws `INVALID_OPERAND` when an integer dtype cannot hold one of them. */
export function numbersTensor(
  values: readonly number[],
  shape: readonly number[],
  dtype: DType,
  where: string,
): Tensor {
  const kind = dtypeFacts[dtype].kind;
  if (kind === "integer" || kind === "unsigned" || kind === "bool") {
    for (const value of values) {
      if (Number.isSafeInteger(value) && (value >= 0 || kind === "integer")) continue;
      throw new LoomweightError({
        code: "INVALID_OPERAND",
        problem: `${where}: a tensor of ${dtype} cannot hold ${value}`,
        expected: "a whole number in its range",
        found: `${value}`,
      });
    }
  }
  return tensorOf(Float64Array.from(values), shape, dtype);
}

/** Copies `count` codes, whatever their storage. */
export function copyCodes(out: Storage, at: number, data: Storage, start: number, count: number): void {
  if (Array.isArray(out) || Array.isArray(data)) {
    for (let i = 0; i < count; i++) (out as string[])[at + i] = (data as string[])[start + i];
    return;
  }
  (out as Uint8Array).set((data as Uint8Array).subarray(start, start + count), at);
}

/** A tensor of the same codes under another shape of as many elements. */
export function reshaped(tensor: Tensor, shape: readonly number[]): Tensor {
  if (elementCount(shape) !== elementCount(tensor.shape)) {
    throw new LoomweightError({
      code: "SHAPE_MISMATCH",
      problem: `a tensor of shape [${tensor.shape}] cannot take the shape [${shape}]`,
    });
  }
  return fromData<DType>(tensor.dtype, contiguousData(tensor), shape);
}

/** Another dtype as ONNX casts: floats to whole numbers truncate, whole numbers wrap, narrower floats round to even; float8 saturates unless told otherwise. */
export function castTensor<D extends DType>(tensor: Tensor, dtype: D, saturate = true): Tensor<D> {
  if (dtype.startsWith("float8")) return cast(tensor, dtype, saturate ? { overflow: "saturate" } : {});
  const whole = !isFloat(dtype) && dtype !== "bool";
  return cast(tensor, dtype, whole ? { rounding: "truncate", overflow: "wrap" } : {});
}
