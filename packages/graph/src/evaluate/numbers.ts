import {
  allocate,
  contiguousData,
  type DType,
  dtypeFacts,
  elementCount,
  fromData,
  LoomweightError,
  type Storage,
  type Tensor,
} from "@loomweight/tensor";

/** 64-bit integers, which a float64 cannot hold. */
export type BigStorage = BigInt64Array | BigUint64Array;

export const isBig = (dtype: DType): dtype is "int64" | "uint64" => dtype === "int64" || dtype === "uint64";

/** The values of a tensor row-major in float64; a view where it holds just those. Throws `UNSUPPORTED_DTYPE`. */
export function elementsOf(tensor: Tensor): Float64Array {
  const { dtype } = tensor;
  if (dtype === "float64") return contiguousData(tensor as Tensor<"float64">);
  if (isBig(dtype)) return Float64Array.from(contiguousData(tensor) as BigStorage, Number);
  if (dtype === "float32") return Float64Array.from(contiguousData(tensor as Tensor<"float32">));
  const facts = dtypeFacts[dtype];
  if (facts.kind === "integer" || facts.kind === "unsigned" || facts.kind === "bool") {
    return Float64Array.from(contiguousData(tensor) as Int32Array);
  }
  throw notNumeric(dtype);
}

/** Codes of a 64-bit integer tensor, row-major. */
export function bigElementsOf(tensor: Tensor): BigStorage {
  return contiguousData(tensor) as BigStorage;
}

/** A tensor of `dtype` from float64 values, each rounded once; integers wrap as two's complement. */
export function tensorOf<D extends DType>(values: Float64Array, shape: readonly number[], dtype: D): Tensor<D> {
  return fromData<DType>(dtype, codesOf(values, dtype), shape) as Tensor<D>;
}

function codesOf(values: Float64Array, dtype: DType): Storage {
  if (dtype === "float64") return values;
  if (dtype === "float32") return new Float32Array(values);
  if (dtype === "bool") return Uint8Array.from(values, (value) => (value === 0 ? 0 : 1));
  if (isBig(dtype)) {
    const out = allocate(dtype, values.length) as BigStorage;
    for (let i = 0; i < values.length; i++) out[i] = BigInt(Math.trunc(values[i]));
    return out;
  }
  if (dtype === "int4") return Int8Array.from(values, (value) => (value << 28) >> 28);
  if (dtype === "uint4") return Uint8Array.from(values, (value) => value & 15);
  const facts = dtypeFacts[dtype];
  if (facts.kind === "integer" || facts.kind === "unsigned") {
    const out = allocate(dtype, values.length) as Int32Array;
    for (let i = 0; i < values.length; i++) out[i] = values[i];
    return out;
  }
  throw notNumeric(dtype);
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

function notNumeric(dtype: DType): LoomweightError {
  return new LoomweightError({
    code: "UNSUPPORTED_DTYPE",
    problem: `tensors of ${dtype} cannot be computed with`,
    fix: "Cast to float32 or float64 first.",
  });
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

/** Another dtype as ONNX casts: floats to integers truncate, narrower floats round to nearest even, bool is "not 0". */
export function castTensor<D extends DType>(tensor: Tensor, dtype: D): Tensor<D> {
  if (tensor.dtype === dtype) return tensor as Tensor as Tensor<D>;
  if (isBig(tensor.dtype) && isBig(dtype)) {
    const codes = bigElementsOf(tensor);
    return fromData<DType>(
      dtype,
      (dtype === "int64" ? BigInt64Array : BigUint64Array).from(codes as BigInt64Array),
      tensor.shape,
    ) as Tensor<D>;
  }
  return tensorOf(elementsOf(tensor), tensor.shape, dtype);
}
