import { type DType, dtypeFacts, type Storage } from "./dtype.ts";
import { LoomweightError, shapeMismatch } from "./errors.ts";

/**
 * A dense array with ndarray's own fields: element (i, j, …) is `data[offset + i * stride[0] + j * stride[1] + …]`.
 * Immutable by convention: functions return new tensors and never write into one they were given.
 */
export interface Tensor<D extends DType = DType> {
  readonly dtype: D;
  readonly data: Storage<D>;
  readonly shape: readonly number[];
  /** In elements (complex64: in pairs of slots). */
  readonly stride: readonly number[];
  readonly offset: number;
}

/** Number of elements of a shape; 1 for a scalar. */
export function elementCount(shape: readonly number[]): number {
  let count = 1;
  for (const size of shape) count *= size;
  return count;
}

/** Row-major strides of a shape. */
export function rowMajorStride(shape: readonly number[]): number[] {
  const stride = new Array<number>(shape.length);
  let step = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    stride[axis] = step;
    step *= shape[axis];
  }
  return stride;
}

/** Wraps row-major codes without copying. Throws `SHAPE_MISMATCH` when `data` does not hold exactly `shape`. */
export function fromData<D extends DType>(dtype: D, data: Storage<D>, shape: readonly number[]): Tensor<D> {
  const slots = slotCount(dtype, elementCount(shape));
  if (data.length !== slots) {
    throw shapeMismatch({
      where: "fromData",
      expected: { from: "shape", shape },
      got: { from: `data (${dtype})`, shape: [data.length] },
    });
  }
  return { dtype, data, shape: [...shape], stride: rowMajorStride(shape), offset: 0 };
}

/** Array slots that `elements` values take in memory: 2 each for complex64, packed bytes for float4/float6. */
export function slotCount(dtype: DType, elements: number): number {
  if (dtype === "complex64") return 2 * elements;
  const facts = dtypeFacts[dtype];
  return facts.kind === "packed" ? Math.ceil((facts.bits * elements) / 8) : elements;
}

/** Fresh zeroed storage for `elements` values. */
export function allocate<D extends DType>(dtype: D, elements: number): Storage<D> {
  const facts = dtypeFacts[dtype];
  const slots = slotCount(dtype, elements);
  if (facts.array === undefined) return new Array<string>(slots).fill("") as Storage<D>;
  const bytes = facts.array as unknown as { new (length: number): Storage<D> };
  return new bytes(slots);
}

export function zeros<D extends DType = "float32">(shape: readonly number[], dtype?: D): Tensor<D> {
  const type = (dtype ?? "float32") as D;
  return fromData(type, allocate(type, elementCount(shape)), shape);
}

/** Whether the elements lie row-major and gap-free from `offset` on. */
export function isContiguous(tensor: Tensor): boolean {
  let step = 1;
  for (let axis = tensor.shape.length - 1; axis >= 0; axis--) {
    if (tensor.shape[axis] !== 1 && tensor.stride[axis] !== step) return false;
    step *= tensor.shape[axis];
  }
  return true;
}

/** The codes row-major and gap-free: a view where the tensor lies so already, else a copy. */
export function contiguousData<D extends DType>(tensor: Tensor<D>): Storage<D> {
  const count = elementCount(tensor.shape);
  const slots = slotCount(tensor.dtype, count);
  if (isContiguous(tensor)) {
    if (tensor.offset === 0 && tensor.data.length === slots) return tensor.data;
    const start = slotCount(tensor.dtype, tensor.offset);
    return (
      Array.isArray(tensor.data) ? tensor.data.slice(start, start + slots) : tensor.data.subarray(start, start + slots)
    ) as Storage<D>;
  }
  if (dtypeFacts[tensor.dtype].kind === "packed") {
    throw new LoomweightError({ code: "UNSUPPORTED_DTYPE", problem: `${tensor.dtype} tensors cannot be strided` });
  }
  const out = allocate(tensor.dtype, count);
  copyStrided(tensor, out);
  return out;
}

/** A matrix whose rows are not side by side, in squares: both sides stay in the cache. */
function copyTurned({ shape, stride, offset }: Tensor, source: readonly number[], target: number[]): void {
  const [rows, columns] = shape;
  const [down, along] = stride;
  const side = 32;
  for (let i0 = 0; i0 < rows; i0 += side) {
    const i1 = Math.min(rows, i0 + side);
    for (let j0 = 0; j0 < columns; j0 += side) {
      const j1 = Math.min(columns, j0 + side);
      for (let i = i0; i < i1; i++) {
        for (let j = j0; j < j1; j++) target[i * columns + j] = source[offset + i * down + j * along];
      }
    }
  }
}

function copyStrided(tensor: Tensor, out: Storage): void {
  const width = tensor.dtype === "complex64" ? 2 : 1;
  const source = tensor.data as unknown as number[];
  const target = out as unknown as number[];
  const { shape, stride } = tensor;
  const rank = shape.length;
  if (rank === 2 && width === 1 && stride[1] > 1) {
    copyTurned(tensor, source, target);
    return;
  }
  const index = new Array<number>(rank).fill(0);
  const inner = rank === 0 ? 1 : shape[rank - 1];
  const innerStride = rank === 0 ? 0 : stride[rank - 1];
  const rows = elementCount(shape) / Math.max(1, inner);
  let written = 0;
  let start = tensor.offset;
  for (let row = 0; row < rows && inner > 0; row++) {
    for (let i = 0; i < inner; i++) {
      const from = (start + i * innerStride) * width;
      for (let slot = 0; slot < width; slot++) target[written++] = source[from + slot];
    }
    for (let axis = rank - 2; axis >= 0; axis--) {
      index[axis]++;
      start += stride[axis];
      if (index[axis] < shape[axis]) break;
      start -= stride[axis] * shape[axis];
      index[axis] = 0;
    }
  }
}
