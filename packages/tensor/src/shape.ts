import { type DType, dtypeFacts, type Storage } from "./dtype.ts";
import { LoomweightError, shapeMismatch } from "./errors.ts";
import {
  allocate,
  contiguousData,
  elementCount,
  fromData,
  isContiguous,
  rowMajorStride,
  slotCount,
  type Tensor,
} from "./tensor.ts";

function shapeError(problem: string, expected: string, found: string): LoomweightError {
  return new LoomweightError({ code: "SHAPE_ARGUMENT", problem, expected, found });
}

/** `axis` counted from the end where it is negative. Throws `SHAPE_ARGUMENT` when there is no such axis. */
export function normalizeAxis(axis: number, rank: number, where: string): number {
  const index = axis < 0 ? axis + rank : axis;
  if (!Number.isInteger(axis) || index < 0 || index >= rank) {
    throw shapeError(
      `${where}: no such axis`,
      rank === 0 ? "none, the rank is 0" : `${-rank} to ${rank - 1}`,
      `${axis}`,
    );
  }
  return index;
}

/**
 * The same elements in another shape; one size may be -1 and is what is left. A view where the tensor lies row-major,
 * else a copy. Throws `SHAPE_MISMATCH` when the number of elements differs.
 */
export function reshape<D extends DType>(tensor: Tensor<D>, shape: readonly number[]): Tensor<D> {
  const count = elementCount(tensor.shape);
  const open = shape.indexOf(-1);
  const known = elementCount(shape.filter((_, axis) => axis !== open));
  const sizes = shape.map((size, axis) => (axis === open ? (known === 0 ? 0 : count / known) : size));
  if (sizes.some((size) => !Number.isSafeInteger(size) || size < 0) || elementCount(sizes) !== count) {
    throw shapeMismatch({
      where: "reshape",
      expected: { from: "tensor", shape: tensor.shape },
      got: { from: "wanted shape", shape },
    });
  }
  if (!isContiguous(tensor)) return fromData(tensor.dtype, contiguousData(tensor), sizes);
  return { ...tensor, shape: sizes, stride: rowMajorStride(sizes) };
}

/** A view with axes in another order: axis i of the result is axis perm[i]; default reversed. */
export function transpose<D extends DType>(tensor: Tensor<D>, perm?: readonly number[]): Tensor<D> {
  const rank = tensor.shape.length;
  const order = perm ?? tensor.shape.map((_, axis) => rank - 1 - axis);
  const axes = order.map((axis) => normalizeAxis(axis, rank, "transpose"));
  if (axes.length !== rank || new Set(axes).size !== rank) {
    throw shapeError("transpose: no order of the axes", `each of ${rank} axes once`, `[${order}]`);
  }
  return { ...tensor, shape: axes.map((axis) => tensor.shape[axis]), stride: axes.map((axis) => tensor.stride[axis]) };
}

/** Part of one axis: elements start, start + step, … below end. Negative start and end count from the end. */
export interface AxisRange {
  /** Default 0. */
  readonly start?: number;
  /** Default the size of the axis. */
  readonly end?: number;
  /** Default 1, at least 1. */
  readonly step?: number;
}

/** A view of part of each axis; axes that are left out or undefined stay whole. Ranges are cut to the axis. */
export function slice<D extends DType>(tensor: Tensor<D>, ranges: readonly (AxisRange | undefined)[]): Tensor<D> {
  if (ranges.length > tensor.shape.length) {
    throw shapeError("slice: too many ranges", `at most ${tensor.shape.length}`, `${ranges.length}`);
  }
  if (dtypeFacts[tensor.dtype].kind === "packed") {
    throw new LoomweightError({ code: "UNSUPPORTED_DTYPE", problem: `${tensor.dtype} tensors cannot be sliced` });
  }
  let { offset } = tensor;
  const shape = [...tensor.shape];
  const stride = [...tensor.stride];
  for (const [axis, range] of ranges.entries()) {
    if (range === undefined) continue;
    const size = tensor.shape[axis];
    const { start = 0, end = size, step = 1 } = range;
    if (![start, end, step].every(Number.isSafeInteger) || step < 1) {
      throw shapeError(
        `slice: bad range on axis ${axis}`,
        "whole numbers, step at least 1",
        `${start}, ${end}, ${step}`,
      );
    }
    const within = (index: number) => Math.max(0, Math.min(size, index < 0 ? index + size : index));
    shape[axis] = Math.max(0, Math.ceil((within(end) - within(start)) / step));
    if (shape[axis] > 0) offset += within(start) * tensor.stride[axis];
    stride[axis] *= step;
  }
  return { ...tensor, shape, stride, offset };
}

/**
 * The shape that arrays of these shapes broadcast to, by NumPy's rule: sizes are aligned at the last axis and must be
 * equal or 1. Throws `SHAPE_MISMATCH`.
 */
export function broadcastShapes(...shapes: readonly (readonly number[])[]): number[] {
  const rank = Math.max(0, ...shapes.map((shape) => shape.length));
  const result = new Array<number>(rank).fill(1);
  for (const shape of shapes) {
    for (let i = 1; i <= shape.length; i++) {
      const size = shape[shape.length - i];
      if (size === 1 || size === result[rank - i]) continue;
      if (result[rank - i] !== 1) {
        throw shapeMismatch({
          where: "broadcast",
          expected: { from: "the others", shape: result },
          got: { from: "one shape", shape },
          fix: "Sizes must be equal or 1, counted from the last axis.",
        });
      }
      result[rank - i] = size;
    }
  }
  return result;
}

/** A view that repeats axes of size 1, and new leading axes, to fill `shape`. Throws `SHAPE_MISMATCH`. */
export function broadcast<D extends DType>(tensor: Tensor<D>, shape: readonly number[]): Tensor<D> {
  const lead = shape.length - tensor.shape.length;
  const fits = lead >= 0 && tensor.shape.every((size, axis) => size === 1 || size === shape[lead + axis]);
  if (!fits) {
    throw shapeMismatch({
      where: "broadcast",
      expected: { from: "wanted shape", shape },
      got: { from: "tensor", shape: tensor.shape },
      fix: "Sizes must be equal or 1, counted from the last axis.",
    });
  }
  const stride = shape.map((size, axis) =>
    axis < lead || (tensor.shape[axis - lead] === 1 && size !== 1) ? 0 : tensor.stride[axis - lead],
  );
  return { ...tensor, shape: [...shape], stride };
}

/** The tensors one behind the other along `axis` (default 0), in fresh memory. Other sizes and dtypes must agree. */
export function concatenate<D extends DType>(tensors: readonly Tensor<D>[], axis = 0): Tensor<D> {
  if (tensors.length === 0) throw shapeError("concatenate: nothing to join", "at least one tensor", "none");
  const [first] = tensors;
  const along = normalizeAxis(axis, first.shape.length, "concatenate");
  const shape = [...first.shape];
  shape[along] = 0;
  for (const [index, each] of tensors.entries()) {
    const agrees =
      each.dtype === first.dtype &&
      each.shape.length === shape.length &&
      each.shape.every((size, i) => i === along || size === shape[i]);
    if (!agrees) {
      throw shapeMismatch({
        where: `concatenate along axis ${along}`,
        expected: { from: `tensors[0] (${first.dtype})`, shape: first.shape },
        got: { from: `tensors[${index}] (${each.dtype})`, shape: each.shape },
      });
    }
    shape[along] += each.shape[along];
  }
  if (dtypeFacts[first.dtype].kind === "packed") {
    throw new LoomweightError({ code: "UNSUPPORTED_DTYPE", problem: `${first.dtype} tensors cannot be joined` });
  }
  const out = allocate(first.dtype, elementCount(shape));
  const outer = elementCount(shape.slice(0, along));
  const row = slotCount(first.dtype, elementCount(shape.slice(along)));
  let start = 0;
  for (const each of tensors) {
    const data = contiguousData(each);
    const part = slotCount(first.dtype, elementCount(each.shape.slice(along)));
    for (let i = 0; i < outer; i++) copyInto(out, i * row + start, data, i * part, part);
    start += part;
  }
  return fromData(first.dtype, out, shape);
}

function copyInto(out: Storage, at: number, data: Storage, from: number, length: number): void {
  if (Array.isArray(out)) {
    for (let i = 0; i < length; i++) out[at + i] = (data as string[])[from + i];
  } else {
    (out as Uint8Array).set((data as Uint8Array).subarray(from, from + length), at);
  }
}
