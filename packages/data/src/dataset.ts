import { contiguousData, elementCount, fromData, LoomweightError, type Storage, type Tensor } from "@loomweight/tensor";

/** Tensors whose first axis counts the samples: { x: [60000, 784], label: [60000] }. */
export type Dataset = Readonly<Record<string, Tensor>>;

/** How many samples a dataset has; throws `SHAPE_MISMATCH` where its tensors disagree, or one is a scalar. */
export function sampleCount(dataset: Dataset): number {
  let first: { readonly name: string; readonly count: number } | undefined;
  for (const [name, { shape }] of Object.entries(dataset)) {
    first ??= { name, count: shape[0] ?? -1 };
    if (shape.length > 0 && shape[0] === first.count) continue;
    throw new LoomweightError({
      code: "SHAPE_MISMATCH",
      problem: "the tensors of a dataset do not have as many samples",
      tensor: name,
      expected: first.name === name ? "an axis of samples" : `${first.count} as "${first.name}"`,
      found: `[${shape}]`,
    });
  }
  if (first !== undefined) return first.count;
  throw new LoomweightError({ code: "SHAPE_MISMATCH", problem: "a dataset without tensors has no samples" });
}

/** Samples [from, to) of every tensor; views of the same memory. */
export function sliceSamples<D extends Dataset>(dataset: D, from: number, to = sampleCount(dataset)): D {
  const count = sampleCount(dataset);
  if (!(Number.isInteger(from) && Number.isInteger(to) && from >= 0 && from <= to && to <= count)) {
    throw new LoomweightError({
      code: "INVALID_RANGE",
      problem: "a dataset does not have these samples",
      expected: `a range within 0 to ${count}`,
      found: `${from} to ${to}`,
    });
  }
  const entries = Object.entries(dataset).map(([name, tensor]) => [
    name,
    { ...tensor, shape: [to - from, ...tensor.shape.slice(1)], offset: tensor.offset + from * (tensor.stride[0] ?? 0) },
  ]);
  return Object.fromEntries(entries) as D;
}

/** The samples at `indices`, in that order, copied into tensors of their own. Throws `INVALID_RANGE`. */
export function takeSamples<D extends Dataset>(dataset: D, indices: ArrayLike<number>): D {
  const count = sampleCount(dataset);
  for (let i = 0; i < indices.length; i++) {
    if (Number.isInteger(indices[i]) && indices[i] >= 0 && indices[i] < count) continue;
    throw new LoomweightError({
      code: "INVALID_RANGE",
      problem: `a dataset of ${count} samples has no sample ${indices[i]}`,
      expected: `a whole number from 0 to ${count - 1}`,
    });
  }
  return Object.fromEntries(Object.entries(dataset).map(([name, tensor]) => [name, takeRows(tensor, indices)])) as D;
}

type Codes = Exclude<Storage, string[]>;

function takeRows(tensor: Tensor, indices: ArrayLike<number>): Tensor {
  const rowShape = tensor.shape.slice(1);
  const size = elementCount(rowShape);
  const shape = [indices.length, ...rowShape];
  const whole = isRowMajor(tensor) ? tensor.data : contiguousData(tensor);
  const start = isRowMajor(tensor) ? tensor.offset : 0;
  if (Array.isArray(whole)) {
    const rows = Array.from(indices, (row) => whole.slice(start + row * size, start + (row + 1) * size));
    return fromData("string", rows.flat(), shape) as Tensor;
  }
  const out = new (whole.constructor as new (length: number) => Codes)(indices.length * size);
  for (let i = 0; i < indices.length; i++) {
    const at = start + indices[i] * size;
    out.set((whole as Codes).subarray(at, at + size) as never, i * size);
  }
  return fromData(tensor.dtype, out as never, shape);
}

/** Whether a tensor's rows lie one behind the other, so that they can be copied as they are. */
function isRowMajor({ shape, stride }: Tensor): boolean {
  let step = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    if (shape[axis] !== 1 && stride[axis] !== step) return false;
    step *= shape[axis];
  }
  return true;
}
