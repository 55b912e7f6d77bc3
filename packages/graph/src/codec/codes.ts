import {
  allocate,
  byteLengthOf,
  bytesOf,
  codesFromBytes,
  contiguousData,
  type DType,
  elementCount,
  fromData,
  type Storage,
  type Tensor,
} from "@loomweight/tensor";
import { malformed } from "../protobuf/reader.ts";

/** Bytes of a tensor in an ONNX file. */
export const fileBytes = (dtype: DType, shape: readonly number[]): number => byteLengthOf(dtype, elementCount(shape));

/** A tensor from the little-endian bytes of an ONNX file; views them where they are aligned. */
export function tensorFromBytes(dtype: DType, shape: readonly number[], bytes: Uint8Array, file: string): Tensor {
  const expected = fileBytes(dtype, shape);
  if (bytes.length !== expected) {
    throw malformed(file, `a tensor of ${dtype} and shape [${shape}] has the wrong number of bytes`, {
      expected: `${expected}`,
      found: `${bytes.length}`,
    });
  }
  return fromData<DType>(dtype, codesFromBytes(dtype, bytes, elementCount(shape)), shape);
}

/** The little-endian bytes an ONNX file holds for a tensor: a view where it lies so already. */
export function bytesOfTensor(tensor: Tensor): Uint8Array {
  return bytesOf(fromData<DType>(tensor.dtype, rowMajorCodes(tensor), tensor.shape));
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
  for (let i = 0; i < rows; i += block) {
    const bottom = Math.min(rows, i + block);
    for (let j = 0; j < columns; j += block) {
      const right = Math.min(columns, j + block);
      for (let row = i; row < bottom; row++) {
        for (let column = j; column < right; column++)
          out[row * columns + column] = source[offset + column * rows + row];
      }
    }
  }
  return out;
}
