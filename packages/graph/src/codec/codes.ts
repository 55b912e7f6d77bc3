import {
  allocate,
  byteLengthOf,
  contiguousData,
  type DType,
  dtypeFacts,
  elementCount,
  fromData,
  type Storage,
  type Tensor,
} from "@loomweight/tensor";
import { malformed } from "../protobuf/reader.ts";

/** Bytes of a tensor in an ONNX file. */
export const fileBytes = (dtype: DType, shape: readonly number[]): number => byteLengthOf(dtype, elementCount(shape));

/** A tensor from the little-endian bytes of an ONNX file; `bytes` is not kept where it is not aligned. */
export function tensorFromBytes(dtype: DType, shape: readonly number[], bytes: Uint8Array, file: string): Tensor {
  const expected = fileBytes(dtype, shape);
  if (bytes.length !== expected) {
    throw malformed(file, `a tensor of ${dtype} and shape [${shape}] has the wrong number of bytes`, {
      expected: `${expected}`,
      found: `${bytes.length}`,
    });
  }
  const count = elementCount(shape);
  if (dtype === "int4" || dtype === "uint4") return fromData<DType>(dtype, unpackNibbles(dtype, bytes, count), shape);
  const facts = dtypeFacts[dtype];
  const codes = facts.kind === "packed" ? allocate(dtype, count) : allocate(dtype, count);
  const view = codes as Float32Array;
  const width = view.BYTES_PER_ELEMENT;
  if (
    facts.array !== undefined &&
    bytes.byteOffset % width === 0 &&
    bytes.byteOffset === 0 &&
    bytes.buffer.byteLength === bytes.length
  ) {
    return fromData<DType>(dtype, new facts.array(bytes.buffer, 0, bytes.length / width) as Storage, shape);
  }
  new Uint8Array(view.buffer, view.byteOffset, bytes.length).set(bytes);
  return fromData<DType>(dtype, codes, shape);
}

function unpackNibbles(dtype: "int4" | "uint4", bytes: Uint8Array, count: number): Storage {
  const out = allocate(dtype, count) as Int8Array | Uint8Array;
  const signed = dtype === "int4";
  for (let i = 0; i < count; i++) {
    const nibble = i % 2 === 0 ? bytes[i >> 1] & 15 : bytes[i >> 1] >> 4;
    out[i] = signed ? (nibble << 28) >> 28 : nibble;
  }
  return out;
}

/** The little-endian bytes an ONNX file holds for a tensor: a view where it lies so already. */
export function bytesOfTensor(tensor: Tensor): Uint8Array {
  const codes = rowMajorCodes(tensor);
  if (tensor.dtype === "int4" || tensor.dtype === "uint4") {
    const nibbles = codes as Int8Array;
    const out = new Uint8Array(Math.ceil(nibbles.length / 2));
    for (let i = 0; i < nibbles.length; i++) out[i >> 1] |= (nibbles[i] & 15) << (i % 2 === 0 ? 0 : 4);
    return out;
  }
  const view = codes as Float32Array;
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
}

/** As `contiguousData`, but a transposed matrix is copied in blocks that stay in the cache. */
function rowMajorCodes(tensor: Tensor): Storage {
  const { shape, stride, dtype, offset } = tensor;
  const [rows, columns] = shape;
  const turned = shape.length === 2 && stride[0] === 1 && stride[1] === rows && rows > 1 && columns > 1;
  if (!turned || dtype === "complex64" || dtype === "string") return contiguousData(tensor);
  const source = tensor.data as Float32Array;
  const out = allocate(dtype, rows * columns) as Float32Array;
  const block = 32;
  for (let j = 0; j < columns; j += block) {
    const right = Math.min(columns, j + block);
    for (let i = 0; i < rows; i += block) {
      const bottom = Math.min(rows, i + block);
      for (let column = j; column < right; column++) {
        const from = offset + column * rows;
        for (let row = i; row < bottom; row++) out[row * columns + column] = source[from + row];
      }
    }
  }
  return out;
}
