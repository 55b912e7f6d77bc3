import {
  type Checkpoint,
  type FileSet,
  type ReadBytesOptions,
  type TensorInfo,
  tensorFromBytes,
} from "@loomweight/checkpoint";
import { createKernels } from "@loomweight/kernels";
import { byteLengthOf, closestNames, elementCount, invalidOption, LoomweightError } from "@loomweight/tensor";
import type { Adapter } from "../peft/adapter.ts";
import { openAdapter, type ReadAdapterOptions } from "../peft/read-adapter.ts";
import { createBufferPool } from "./buffers.ts";
import { createCodec } from "./codes.ts";
import { type EvaluateOptions, evaluateRows, type PreparedTensor, prepareTensor } from "./evaluate.ts";
import { createParamReader } from "./params.ts";
import { type FoldBase, type FoldedTensor, type FoldPlan, type FoldPlanOptions, planFold, rowsOf } from "./plan.ts";

/** Kernel memory: a tile and what its evaluation makes of it. */
const kernelBytes = 32 << 20;
/** Tensors whose parameters are kept at once: the one that is read, the next, and some of a reader that jumps. */
const keptTensors = 4;

export interface FoldedCheckpointOptions extends Omit<EvaluateOptions, "signal" | "buffers"> {}

export interface OpenFoldedOptions extends FoldPlanOptions, FoldedCheckpointOptions {}

/**
 * A base model with adapters folded in, as a checkpoint: bytes are computed when they are read, a tile at a time, so
 * nothing larger than a tile and one layer's parameters is held. Reading whole rows in order is fastest.
 * Closing it leaves the base and the adapters open.
 */
export function foldedCheckpoint(plan: FoldPlan, options: FoldedCheckpointOptions = {}): Checkpoint {
  const kernels = createKernels({ bytes: kernelBytes });
  const codec = createCodec(kernels);
  const reader = createParamReader(codec);
  const buffers = createBufferPool();
  const prepared = new Map<string, Promise<PreparedTensor>>();
  const sign = options.undo ? "−" : "+";
  const label = [plan.base.location, ...plan.adapters.map(({ location }) => location)].join(` ${sign} `);
  const tensors = new Map<string, TensorInfo>();
  for (const [name, { dtype, shape }] of plan.tensors) {
    tensors.set(name, {
      name,
      dtype,
      shape,
      byteLength: byteLengthOf(dtype, elementCount(shape)),
      file: label,
      byteOffset: 0,
    });
  }

  const prepare = (tensor: FoldedTensor): Promise<PreparedTensor> => {
    const known = prepared.get(tensor.name);
    if (known !== undefined) {
      prepared.delete(tensor.name); // to the end: the one used last is dropped last
      prepared.set(tensor.name, known);
      return known;
    }
    // No signal of one reader: others may wait for the same parameters.
    const made = prepareTensor(tensor, reader, options);
    prepared.set(tensor.name, made);
    made.catch(() => prepared.delete(tensor.name));
    for (const name of [...prepared.keys()].slice(0, -keptTensors)) prepared.delete(name);
    return made;
  };

  const readBytes = async (name: string, read: ReadBytesOptions = {}): Promise<Uint8Array> => {
    const tensor = plan.tensors.get(name);
    const info = tensors.get(name);
    if (tensor === undefined || info === undefined) throw unknownTensor(name, label, tensors);
    const { start = 0, end = info.byteLength, signal } = read;
    checkRange(name, info.byteLength, start, end, read.into);
    const { source } = tensor;
    if (tensor.operations.length === 0 && tensor.dtype === source.info.dtype) {
      return source.checkpoint.readBytes(source.info.name, { start, end, into: read.into, signal });
    }
    const out = read.into ?? new Uint8Array(end - start);
    if (start === end) return out;
    const ready = await prepare(tensor);
    const rowBytes = byteLengthOf(tensor.dtype, tensor.rowLength);
    const rows = rowsOf(tensor);
    const multiple = Number.isFinite(tensor.rowMultiple) ? tensor.rowMultiple : rows;
    const first = Math.floor(start / rowBytes / multiple) * multiple;
    const last = Math.min(rows, Math.ceil(end / rowBytes / multiple) * multiple);
    const evaluating = { ...options, signal, buffers };
    if (first * rowBytes === start && last * rowBytes === end) {
      await evaluateRows(ready, codec, first, last, out, evaluating);
      return out;
    }
    const wider = new Uint8Array((last - first) * rowBytes);
    await evaluateRows(ready, codec, first, last, wider, evaluating);
    out.set(wider.subarray(start - first * rowBytes, end - first * rowBytes));
    return out;
  };

  return {
    location: label,
    tensors,
    metadata: plan.base.metadata,
    readBytes,
    async read(name, { range, signal } = {}) {
      const info = tensors.get(name);
      if (info === undefined) throw unknownTensor(name, label, tensors);
      if (range === undefined) return tensorFromBytes(info.dtype, info.shape, await readBytes(name, { signal }));
      const [start, end] = [byteLengthOf(info.dtype, range.start), byteLengthOf(info.dtype, range.end)];
      return tensorFromBytes(info.dtype, [range.end - range.start], await readBytes(name, { start, end, signal }));
    },
    async close() {
      prepared.clear();
    },
  };
}

/** Base + adapters as one checkpoint of the folded weights, computed on demand, and the plan behind it. */
export function foldAdapters(
  base: FoldBase,
  adapters: readonly Adapter[],
  options: OpenFoldedOptions = {},
): { readonly checkpoint: Checkpoint; readonly plan: FoldPlan } {
  const plan = planFold(base, adapters, options);
  return { checkpoint: foldedCheckpoint(plan, options), plan };
}

/** A folded checkpoint with what folding had to say. */
export interface FoldedCheckpoint extends Checkpoint {
  readonly warnings: readonly string[];
  /** Changes to the base's config.json. */
  readonly configChanges: Readonly<Record<string, unknown>>;
}

/**
 * Opens adapters' files and folds them into a base, in this order: a checkpoint whose tensors are computed when they
 * are read, as a merge wants them for `model+adapter`. `dtype: "float64"` hands out the values before any rounding.
 * Closing it closes the adapters, not the base. Throws as `openAdapter` and `planFold`.
 */
export async function openFolded(
  base: Checkpoint,
  config: Readonly<Record<string, unknown>> | undefined,
  adapterFolders: readonly FileSet[],
  options: OpenFoldedOptions & ReadAdapterOptions = {},
): Promise<FoldedCheckpoint> {
  const adapters: Adapter[] = [];
  const close = async () => {
    await Promise.all(adapters.map(({ checkpoint }) => checkpoint.close()));
  };
  try {
    for (const folder of adapterFolders) adapters.push(await openAdapter(folder, options));
    const { checkpoint, plan } = foldAdapters({ checkpoint: base, config }, adapters, options);
    return {
      ...checkpoint,
      warnings: plan.warnings,
      configChanges: plan.config,
      async close() {
        await Promise.all([checkpoint.close(), close()]);
      },
    };
  } catch (error) {
    await close();
    throw error;
  }
}

function checkRange(name: string, size: number, start: number, end: number, into: Uint8Array | undefined): void {
  if (!Number.isSafeInteger(start) || !Number.isSafeInteger(end) || start < 0 || end < start || end > size) {
    throw invalidOption({ option: `range of "${name}"` }, `[${start}, ${end})`, `a range within [0, ${size})`);
  }
  if (into !== undefined && into.length !== end - start) {
    throw invalidOption({ option: "into" }, `${into.length} bytes`, `${end - start} bytes`);
  }
}

function unknownTensor(name: string, file: string, tensors: ReadonlyMap<string, TensorInfo>): LoomweightError {
  const close = closestNames(name, tensors.keys());
  return new LoomweightError({
    code: "UNKNOWN_TENSOR",
    problem: `no tensor "${name}"`,
    file,
    fix: close.length === 0 ? undefined : `Closest: ${close.map((each) => `"${each}"`).join(", ")}.`,
  });
}
