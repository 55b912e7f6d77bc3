import { add, isGraphValue, type Value, withKernelMemory } from "@loomweight/graph";
import type { KernelDType } from "@loomweight/kernels";
import {
  byteLengthOf,
  contiguousData,
  elementCount,
  fromData,
  isFloat,
  LoomweightError,
  type Tensor,
} from "@loomweight/tensor";
import type { LayerValues } from "../define.ts";
import { type LayerShape, storedAxis } from "../layer.ts";
import type { BufferPool } from "./buffers.ts";
import type { Codec } from "./codes.ts";
import { type LayerParams, type LoadedParams, loadParams, type ParamReader } from "./params.ts";
import { type FoldedTensor, type FoldStep, rowsOf } from "./plan.ts";
import { asMatrix, asStored, sliceLayer, sliceParam } from "./slice.ts";
import { unfoldedBias, unfoldedWeight } from "./unfold.ts";

/** Elements evaluated at once: small enough for the processor's cache. */
const tileElements = 131_072;

/** What evaluating a tensor needs beside the tile itself. */
export interface PreparedTensor {
  readonly tensor: FoldedTensor;
  readonly operations: readonly PreparedOperation[];
}

export interface PreparedOperation extends LayerParams {
  readonly kind: "weight" | "bias";
  readonly step: FoldStep;
  /** Sums over all of `in`, where tiles hold only a part of it. */
  readonly sums?: Readonly<Record<string, Tensor>>;
}

export interface EvaluateOptions {
  readonly signal?: AbortSignal;
  /** Let NaN and infinities pass into the result; default false. */
  readonly allowNonFinite?: boolean;
  /** Take the operations back, last first: what the base held before them, by arithmetic; default false. */
  readonly undo?: boolean;
  /** Where the base's bytes are read into; default fresh arrays. */
  readonly buffers?: BufferPool;
}

/** Reads the parameters of a tensor's operations, and the sums that need a pass over the base's tensor. */
export async function prepareTensor(
  tensor: FoldedTensor,
  reader: ParamReader,
  options: EvaluateOptions = {},
): Promise<PreparedTensor> {
  const { codec } = reader;
  const operations = await Promise.all(
    tensor.operations.map(async ({ kind, step }) => ({
      kind,
      step,
      ...(await loadParams(step, reader, options)),
    })),
  );
  const summed = operations.map(
    ({ kind, step }) =>
      options.undo !== true && kind === "weight" && step.method.sums !== undefined && storedAxis(step.layer) === "in",
  );
  if (!summed.includes(true)) return { tensor, operations };
  const sums: Record<string, Tensor>[] = operations.map(() => ({}));
  const rows = rowsOf(tensor);
  const step = rowsAtOnce(tensor);
  for (let start = 0; start < rows; start += step) {
    const end = Math.min(rows, start + step);
    const values = await readValues(tensor, codec, start, end, options);
    operations.forEach((operation, index) => {
      if (!summed[index]) return;
      const { method, module } = operation.step;
      const { layer, own } = weightTile(operation, { base: values, now: values, start, end });
      const part = method.sums?.(layer, own, module.options) ?? {};
      for (const [name, value] of Object.entries(part)) {
        const before = sums[index][name];
        sums[index][name] = computed(before === undefined ? value : add(before, value), operation.step);
      }
    });
  }
  return {
    tensor,
    operations: operations.map((operation, index) => (summed[index] ? { ...operation, sums: sums[index] } : operation)),
  };
}

/** Rows that tiles hold. */
export function rowsAtOnce(tensor: FoldedTensor): number {
  const rows = Math.max(1, rowsOf(tensor));
  if (!Number.isFinite(tensor.rowMultiple)) return rows;
  const wanted = Math.max(1, Math.floor(tileElements / tensor.rowLength));
  return Math.max(1, Math.round(wanted / tensor.rowMultiple)) * tensor.rowMultiple;
}

/**
 * Writes the codes of rows [start, end) of the folded tensor into `out`: float64 throughout, one rounding. `start` and
 * `end` are multiples of `rowMultiple` (or the last row). Throws `NON_FINITE` naming the tensor.
 */
export async function evaluateRows(
  prepared: PreparedTensor,
  codec: Codec,
  start: number,
  end: number,
  out: Uint8Array,
  options: EvaluateOptions = {},
): Promise<void> {
  const { tensor } = prepared;
  const width = tensor.rowLength;
  const step = rowsAtOnce(tensor);
  const held = options.buffers?.take(byteLengthOf(tensor.source.info.dtype, (end - start) * width));
  const bytes = await readCodes(tensor, start, end, options, held);
  const { dtype } = tensor.source.info;
  for (let row = start; row < end; row += step) {
    const last = Math.min(end, row + step);
    const count = (last - row) * width;
    const from = byteLengthOf(dtype, (row - start) * width);
    const to = byteLengthOf(tensor.dtype, (row - start) * width);
    const mark = codec.kernels.mark();
    try {
      const values = tileValues(codec, count);
      codec.load(values, dtype as KernelDType, bytes.subarray(from, from + byteLengthOf(dtype, count)));
      const folded = withKernelMemory(codec.kernels, () => applyOperations(prepared, values, row, last, options.undo));
      const codes = out.subarray(to, to + byteLengthOf(tensor.dtype, count));
      const bad = codec.store(tensor.dtype as KernelDType, codes, folded);
      if (bad >= 0 && options.allowNonFinite !== true) {
        throw nonFinite(prepared, values[bad], folded[bad], row * width + bad);
      }
    } finally {
      codec.kernels.release(mark);
    }
  }
  if (held !== undefined) options.buffers?.give(held);
}

/** Room for a tile: kernel memory, where ops work without copies, or the heap for what is too large for it. */
function tileValues({ kernels }: Codec, count: number): Float64Array {
  if (count * 8 > kernels.capacity / 4) return new Float64Array(count);
  const block = kernels.allocateUnset(count * 8);
  return new Float64Array(block.buffer, block.byteOffset, count);
}

/**
 * The values of rows [start, end) after every operation, row-major. `values` are the base's; with `undo` those after
 * every operation, and the result is what they were before.
 */
export function applyOperations(
  prepared: PreparedTensor,
  values: Float64Array,
  start: number,
  end: number,
  undo = false,
): Float64Array {
  let now: Float64Array = values;
  const change = undo ? undone : applied;
  for (const operation of undo ? prepared.operations.toReversed() : prepared.operations) {
    const { rows } = operation.step;
    if (rows === undefined) {
      now = change(prepared.tensor, operation, { base: values, now, start, end });
      continue;
    }
    const [from, to] = [Math.max(start, rows.start), Math.min(end, rows.end)];
    if (from >= to) continue;
    const { rowLength } = prepared.tensor;
    const [first, last] = [(from - start) * rowLength, (to - start) * rowLength];
    const part = change(prepared.tensor, operation, {
      base: values.subarray(first, last),
      now: now.subarray(first, last),
      start: from - rows.start,
      end: to - rows.start,
    });
    if (now === values) now = values.slice(); // what later operations take for the base stays
    now.set(part, first);
  }
  return now;
}

/** Rows [start, end) of the part of a tensor that an operation changes: before any operation, and before this one. */
export interface OperationTile {
  readonly base: Float64Array;
  readonly now: Float64Array;
  readonly start: number;
  readonly end: number;
}

function applied(tensor: FoldedTensor, operation: PreparedOperation, tile: OperationTile): Float64Array {
  const { step } = operation;
  const { method, module } = step;
  if (operation.kind === "bias") {
    const { layer, own } = biasTile(operation, tile);
    const bias = fromData("float64", tile.now, [tile.now.length]);
    const changed = method.bias?.change(bias, layer, own, module.options);
    return changed === undefined ? tile.now : (contiguousData(computed(changed, step)) as Float64Array);
  }
  const { layer, own } = weightTile(operation, tile);
  const sums = operation.sums ?? method.sums?.(layer, own, module.options) ?? {};
  const weight = computed((method.weight as NonNullable<typeof method.weight>)(layer, own, module.options, sums), step);
  return storedValues(weight, layer, tensor.name, step, tile.now.length);
}

function undone(tensor: FoldedTensor, operation: PreparedOperation, tile: OperationTile): Float64Array {
  const { step } = operation;
  const { options } = step.module;
  if (operation.kind === "bias") {
    const { layer, own } = biasTile(operation, tile);
    const bias = fromData("float64", tile.now, [tile.now.length]);
    return contiguousData(unfoldedBias(step.method, bias, layer, own, options)) as Float64Array;
  }
  // Methods that read the base itself cannot be undone: what they are given as base is what is there now.
  const { layer, own } = weightTile(operation, { ...tile, base: tile.now });
  const weight = unfoldedWeight(step.method, layer, own, options);
  return storedValues(weight, layer, tensor.name, step, tile.now.length);
}

/** A weight [out, in] that a method made, in stored order. */
export function storedValues(
  weight: Tensor,
  layer: LayerValues,
  name: string,
  { method }: FoldStep,
  expected: number,
): Float64Array {
  if (elementCount(weight.shape) === expected) return contiguousData(asStored(layer, weight)) as Float64Array;
  throw new LoomweightError({
    code: "INTERNAL",
    problem: `${method.name} gave a weight of another shape`,
    tensor: name,
  });
}

/** The rows of a tile as the layer that a method sees, and its parameters for them. */
export function weightTile(
  operation: Pick<PreparedOperation, "step" | "params" | "shapes">,
  { base, now, start, end }: OperationTile,
): { layer: LayerValues; own: LoadedParams } {
  const { step } = operation;
  const axis = storedAxis(step.layer);
  const shape = sliceLayer(step.layer, start, end);
  const matrix = asMatrix(shape, base);
  const offset = axis === "out" ? { out: start, in: 0 } : { out: 0, in: start };
  const layer = { ...shape, offset, base: matrix, weight: now === base ? matrix : asMatrix(shape, now) };
  return { layer, own: slicedParams(operation, axis, start, end) };
}

/** The same for a bias. */
export function biasTile(
  operation: Pick<PreparedOperation, "step" | "params" | "shapes">,
  { start, end }: OperationTile,
): { layer: LayerShape; own: LoadedParams } {
  const layer = { ...operation.step.layer, out: end - start };
  return { layer, own: slicedParams(operation, "out", start, end) };
}

function slicedParams(
  { params, shapes }: Pick<PreparedOperation, "params" | "shapes">,
  axis: "in" | "out",
  start: number,
  end: number,
): LoadedParams {
  const own: Record<string, Tensor> = {};
  for (const [name, tensor] of Object.entries(params)) own[name] = sliceParam(tensor, shapes[name], axis, start, end);
  return own;
}

async function readCodes(
  tensor: FoldedTensor,
  start: number,
  end: number,
  { signal }: EvaluateOptions,
  into?: Uint8Array,
): Promise<Uint8Array> {
  const { checkpoint, info } = tensor.source;
  if (!isFloat(info.dtype)) {
    throw new LoomweightError({
      code: "UNSUPPORTED_DTYPE",
      problem: "only floating-point tensors can be folded",
      tensor: info.name,
      file: info.file,
      found: info.dtype,
    });
  }
  const width = tensor.rowLength;
  return checkpoint.readBytes(info.name, {
    start: byteLengthOf(info.dtype, start * width),
    end: byteLengthOf(info.dtype, end * width),
    into,
    signal,
  });
}

async function readValues(
  tensor: FoldedTensor,
  codec: Codec,
  start: number,
  end: number,
  options: EvaluateOptions,
): Promise<Float64Array> {
  const bytes = await readCodes(tensor, start, end, options);
  const values = new Float64Array((end - start) * tensor.rowLength);
  codec.load(values, tensor.source.info.dtype as KernelDType, bytes);
  return values;
}

/** All operands are tensors, so the result is one; anything else is the method's fault. */
export function computed(value: Value, { method }: FoldStep): Tensor {
  if (!isGraphValue(value)) return value;
  throw new LoomweightError({
    code: "INTERNAL",
    problem: `${method.name} is not evaluated on tensors (${value.node?.op ?? value.kind})`,
  });
}

function nonFinite(
  { tensor, operations }: PreparedTensor,
  base: number,
  result: number,
  element: number,
): LoomweightError {
  const names = operations
    .map(({ step }) => step.adapter.location)
    .filter((name, index, all) => all.indexOf(name) === index);
  return new LoomweightError({
    code: "NON_FINITE",
    problem: Number.isFinite(result)
      ? `the folded weight is beyond the range of ${tensor.dtype}`
      : "the folded weight is not a finite number",
    file: names.join(", ") || tensor.source.info.file,
    tensor: tensor.name,
    found: `${result} at element ${element}, from ${base} in ${tensor.source.info.file}`,
    fix: Number.isFinite(base)
      ? "The adapter does not fit this base, or the output needs a wider dtype."
      : "The base model itself holds it; allow non-finite values to keep it.",
  });
}
