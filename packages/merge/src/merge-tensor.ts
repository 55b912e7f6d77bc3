import type { Checkpoint } from "@loomweight/checkpoint";
import type { KernelDType } from "@loomweight/kernels";
import { LoomweightError } from "@loomweight/tensor";
import { checkpointSource } from "./checkpoint-source.ts";
import type { AnyMergeMethod, MergeContext } from "./define.ts";
import type { Engine } from "./lazy/engine.ts";
import { fromSource, type LazyTensor } from "./lazy/lazy-tensor.ts";
import { storeTensor } from "./lazy/store.ts";
import type { TensorPlan, TensorReference } from "./plan/plan.ts";

/** Takes the bytes of output tensors, in any order; a resolved promise means that the array is free again. */
export type TensorSink = (name: string, start: number, bytes: Uint8Array) => Promise<void>;

/** As storing says it. */
const ofResult = "of the result";

/** How tensors are merged, whichever they are. */
export interface MergeTensorOptions {
  /** Seed of random methods; default 0. */
  readonly seed?: number;
  /** Let infinities and NaN pass; default false. */
  readonly allowNonFinite?: boolean;
  readonly signal?: AbortSignal;
}

/**
 * Merges one tensor of a plan on `engine`, tile by tile, and gives its bytes to `sink`; when it returns, the sink has
 * taken them all. Bytes in flight are bounded by the engine's tiles: a tile is computed when the one before the last
 * has been taken. Throws what the method, the checkpoints or the sink throw, `NON_FINITE`, and the reason of an abort.
 */
export async function mergeTensor(
  tensor: TensorPlan,
  method: AnyMergeMethod,
  checkpoints: readonly Checkpoint[],
  engine: Engine,
  sink: TensorSink,
  options: MergeTensorOptions,
): Promise<void> {
  const write = (start: number, bytes: Uint8Array) => sink(tensor.name, start, bytes);
  try {
    const { merged, reference } = await openMerged(tensor, method, checkpoints, engine, options);
    if (merged === undefined) {
      await copyTensor(checkpoints[reference.model], reference.tensor, engine, write, options.signal);
    } else {
      const { allowNonFinite } = options;
      await storeTensor(merged, { dtype: tensor.dtype as KernelDType, name: tensor.name, allowNonFinite, write });
    }
  } catch (error) {
    if (!(error instanceof LoomweightError) || error.code !== "NON_FINITE") throw error;
    engine.reset();
    throw (await blameModel(error, tensor, checkpoints, engine, options)) ?? error;
  } finally {
    engine.reset();
  }
}

/**
 * The error that names the first model whose own tensor is not finite; undefined when all are. `engine` is used alone.
 */
export async function blameModel(
  failure: LoomweightError,
  { name, copy, base, inputs }: TensorPlan,
  checkpoints: readonly Checkpoint[],
  engine: Engine,
  { signal }: MergeTensorOptions,
): Promise<LoomweightError | undefined> {
  const references = [copy, base, ...inputs].filter((each) => each !== undefined);
  for (const { model, tensor, cut } of references) {
    const source = fromSource(checkpointSource(checkpoints[model], tensor, { cut, signal }), engine);
    try {
      await storeTensor(source, { dtype: "float64", name: tensor, write: async () => {} });
    } catch (error) {
      if (!(error instanceof LoomweightError) || error.code !== "NON_FINITE") throw error;
      const { problem } = error.details;
      // The model is a document of the recipe, which has blamed one of its own.
      if (!problem.includes(ofResult)) return error;
      return new LoomweightError({
        ...error.details,
        problem: problem.replace(ofResult, `of "${tensor}" in this model`),
        file: checkpoints[model].location,
        tensor: name,
        // What orders entries by magnitude cannot let them pass, and says so itself.
        fix: failure.details.problem.includes(ofResult)
          ? "Merge without this model, repair it, or allow non-finite results."
          : failure.details.fix,
      });
    } finally {
      engine.reset();
    }
  }
  return undefined;
}

/** A merged tensor that has not been evaluated, or the stored tensor that it is bit for bit. */
export type MergedTensor =
  | { readonly merged: LazyTensor; readonly reference?: undefined }
  | { readonly merged?: undefined; readonly reference: TensorReference };

/**
 * Runs a method on one tensor of a plan: what it needs to know of whole tensors is read now, the result is evaluated
 * by the caller, who resets the engine when done with it.
 */
export async function openMerged(
  tensor: TensorPlan,
  method: AnyMergeMethod,
  checkpoints: readonly Checkpoint[],
  engine: Engine,
  options: MergeTensorOptions,
): Promise<MergedTensor> {
  const open = ({ model, tensor: name, cut }: TensorReference): LazyTensor =>
    fromSource(checkpointSource(checkpoints[model], name, { cut, signal: options.signal }), engine);
  if (tensor.copy !== undefined) {
    const { copy } = tensor;
    const stored = checkpoints[copy.model].tensors.get(copy.tensor)?.dtype;
    return stored === tensor.dtype ? { reference: copy } : { merged: open(copy) };
  }
  const sources = {
    base: tensor.base === undefined ? undefined : open(tensor.base),
    models: tensor.inputs.map((input, index) => ({
      tensor: open(input),
      options: input.options,
      name: checkpoints[input.model].location,
      index,
    })),
  };
  const context: MergeContext = { tensor: tensor.name, seed: options.seed ?? 0 };
  const merged = await method.merge(sources, tensor.options, context);
  const reference = referenceOf(merged, tensor, sources);
  return reference === undefined ? { merged } : { reference };
}

/** The stored tensor that a result is, bit for bit: a whole source that is not converted. */
function referenceOf(
  { node }: LazyTensor,
  { dtype, base, inputs }: TensorPlan,
  sources: { base: LazyTensor | undefined; models: readonly { tensor: LazyTensor }[] },
): TensorReference | undefined {
  if (node.kind !== "source" || node.source.dtype !== dtype) return undefined;
  const all = [sources.base, ...sources.models.map(({ tensor }) => tensor)];
  const found = [base, ...inputs][all.findIndex((each) => each?.node === node)];
  return found === undefined || found.cut !== undefined ? undefined : found;
}

const copyTileBytes = 4 * 1024 * 1024;

/** Copies a tensor's bytes, one tile being read while the one before it is written. */
async function copyTensor(
  checkpoint: Checkpoint,
  name: string,
  engine: Engine,
  write: (start: number, bytes: Uint8Array) => Promise<void>,
  signal: AbortSignal | undefined,
): Promise<void> {
  const byteLength = checkpoint.tensors.get(name)?.byteLength ?? 0;
  const size = Math.min(copyTileBytes, byteLength);
  const buffers = [engine.kernels.allocateUnset(size), engine.kernels.allocateUnset(byteLength > size ? size : 0)];
  let writing: Promise<void> = Promise.resolve();
  try {
    for (let start = 0, tile = 0; start < byteLength; start += size, tile++) {
      const end = Math.min(byteLength, start + size);
      const bytes = buffers[tile % 2].subarray(0, end - start);
      await checkpoint.readBytes(name, { start, end, into: bytes, signal });
      await writing;
      writing = write(start, bytes);
      writing.catch(() => undefined); // awaited in the next round or below
    }
    await writing;
  } finally {
    await writing.catch(() => undefined);
    engine.reset();
  }
}
