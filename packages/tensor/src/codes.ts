import { byteLengthOf, type DType, dtypeFacts, type Storage } from "./dtype.ts";
import { LoomweightError } from "./errors.ts";
import { allocate, contiguousData, slotCount, type Tensor } from "./tensor.ts";

/**
 * Little-endian bytes of a file as codes of `dtype`: a view where the bytes are aligned, else a copy. int4 and uint4,
 * two a byte with the lower half first, are unpacked into `count` slots (default: all). float4 and float6 stay packed.
 * Throws `BYTE_LENGTH` when the bytes are no whole number of elements, `UNSUPPORTED_DTYPE` for text.
 */
export function codesFromBytes<D extends DType>(dtype: D, bytes: Uint8Array, count?: number): Storage<D> {
  const { array, bits } = dtypeFacts[dtype];
  if (array === undefined) throw noBytes(dtype);
  if (dtype === "int4" || dtype === "uint4") return unpackHalves(dtype, bytes, count ?? 2 * bytes.length) as Storage<D>;
  const elements = count ?? Math.floor((8 * bytes.length) / bits);
  if (byteLengthOf(dtype, elements) !== bytes.length) {
    throw wrongLength(dtype, count === undefined ? `whole ${dtype} elements` : `${count} elements`, bytes.length);
  }
  const width = (array as unknown as { BYTES_PER_ELEMENT: number }).BYTES_PER_ELEMENT;
  const aligned = bytes.byteOffset % width === 0 ? bytes : Uint8Array.from(bytes);
  return new array(aligned.buffer, aligned.byteOffset, slotCount(dtype, elements)) as unknown as Storage<D>;
}

/**
 * The tensor's elements row-major as little-endian bytes, as a file holds them: a view of its data where they lie so
 * already, else a copy. int4 and uint4 are packed, lower half first, a last odd one beside 0. Throws
 * `UNSUPPORTED_DTYPE` for text.
 */
export function bytesOf(tensor: Tensor): Uint8Array {
  const data = contiguousData(tensor);
  if (Array.isArray(data)) throw noBytes(tensor.dtype);
  if (tensor.dtype === "int4" || tensor.dtype === "uint4") return packHalves(data as Int8Array | Uint8Array);
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

function unpackHalves(dtype: "int4" | "uint4", bytes: Uint8Array, count: number): Int8Array | Uint8Array {
  if (Math.ceil(count / 2) !== bytes.length) throw wrongLength(dtype, `${count} elements`, bytes.length);
  const codes = allocate(dtype, count);
  for (let i = 0; i < count; i++) {
    const half = (bytes[i >> 1] >> (4 * (i & 1))) & 15;
    codes[i] = dtype === "int4" ? (half ^ 8) - 8 : half;
  }
  return codes;
}

function packHalves(codes: Int8Array | Uint8Array): Uint8Array {
  const bytes = new Uint8Array(Math.ceil(codes.length / 2));
  for (let i = 0; i < codes.length; i++) bytes[i >> 1] |= (codes[i] & 15) << (4 * (i & 1));
  return bytes;
}

function noBytes(dtype: DType): LoomweightError {
  return new LoomweightError({
    code: "UNSUPPORTED_DTYPE",
    problem: `${dtype} tensors have no bytes of fixed length`,
    expected: "a numeric dtype",
    found: dtype,
  });
}

function wrongLength(dtype: DType, expected: string, length: number): LoomweightError {
  return new LoomweightError({
    code: "BYTE_LENGTH",
    problem: `bytes do not hold ${dtype} elements`,
    expected,
    found: `${length} bytes`,
  });
}

/** The same memory as bytes. */
export function rawBytes(data: ArrayBufferView): Uint8Array {
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}
