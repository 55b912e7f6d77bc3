import { contiguousData, type Tensor } from "./tensor.ts";
import { toFloat64 } from "./values.ts";

/** Elements in arrays nested as deep as the rank: numbers, bigints for 64-bit integers, text for strings. */
export type Nested = number | bigint | string | Nested[];

/** The elements as nested arrays; the element itself for rank 0. Throws `UNSUPPORTED_DTYPE` for complex64 and packed floats. */
export function toNumbers(tensor: Tensor): Nested {
  return nest(plainElements(tensor), tensor.shape, 0, 0);
}

/** The elements row-major in their plain form. */
export function plainElements(tensor: Tensor): ArrayLike<number | bigint | string> {
  const exact = tensor.dtype === "int64" || tensor.dtype === "uint64" || tensor.dtype === "string";
  return exact ? (contiguousData(tensor) as ArrayLike<bigint | string>) : toFloat64(tensor);
}

function nest(
  elements: ArrayLike<number | bigint | string>,
  shape: readonly number[],
  axis: number,
  start: number,
): Nested {
  if (axis === shape.length) return elements[start];
  let step = 1;
  for (let inner = axis + 1; inner < shape.length; inner++) step *= shape[inner];
  return Array.from({ length: shape[axis] }, (_, i) => nest(elements, shape, axis + 1, start + i * step));
}
