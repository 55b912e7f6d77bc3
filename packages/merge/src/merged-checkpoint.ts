import type { Checkpoint, ReadBytesOptions, TensorInfo } from "@loomweight/checkpoint";
import { createKernels, type KernelDType } from "@loomweight/kernels";
import { byteLengthOf, codesFromBytes, elementCount, fromData, LoomweightError, unknownName } from "@loomweight/tensor";
import type { AnyMergeMethod } from "./define.ts";
import { createEngine, type Engine } from "./lazy/engine.ts";
import { storeTensor } from "./lazy/store.ts";
import { blameModel, type MergedTensor, type MergeTensorOptions, openMerged } from "./merge-tensor.ts";
import type { MergePlan, TensorPlan, TensorReference } from "./plan/plan.ts";

/** Tensors of one merge that are kept open: what was learnt of them (thresholds, norms) is not learnt again. */
const openTensors = 3;
const megabyte = 2 ** 20;
/** Smaller than those of a merge that writes: several of these stand behind one. */
const engineSizes = { tileElements: 2 ** 18, streamBytes: 8 * megabyte, residentBytes: 8 * megabyte };
const kernelBytes = 64 * megabyte;

/** A tensor being computed on an engine of its own. */
interface Slot {
  readonly engine: Engine;
  tensor: string | undefined;
  opened: Promise<MergedTensor> | undefined;
  /** Reads under way. */
  readers: number;
  lastUsed: number;
}

/**
 * The result of a plan as a checkpoint that is computed when it is read: any range of any tensor, rounded to the dtype
 * in which it would be written, so that merging it further gives the same bytes as writing it first. Memory stays that
 * of a few tiles. Reads throw `UNKNOWN_TENSOR`, and what `mergeTensor` throws.
 * @param checkpoints those of the plan's models, in its order; they stay open when this one is closed
 */
export function mergedCheckpoint(
  plan: MergePlan,
  method: AnyMergeMethod,
  checkpoints: readonly Checkpoint[],
  location: string,
  options: MergeTensorOptions = {},
): Checkpoint {
  const plans = new Map(plan.tensors.map((tensor) => [tensor.name, tensor]));
  const tensors = plannedInfos(plan, location);
  const slots: Slot[] = [];
  let clock = 0;
  let waiting: (() => void)[] = [];

  const takeSlot = async (tensor: TensorPlan): Promise<Slot> => {
    for (;;) {
      let slot = slots.find((each) => each.tensor === tensor.name);
      if (slot === undefined && slots.length < openTensors) {
        const engine = createEngine({ kernels: createKernels({ bytes: kernelBytes }), ...engineSizes });
        slot = { engine, tensor: undefined, opened: undefined, readers: 0, lastUsed: 0 };
        slots.push(slot);
      }
      slot ??= slots.filter(({ readers }) => readers === 0).sort((a, b) => a.lastUsed - b.lastUsed)[0];
      if (slot !== undefined) {
        if (slot.tensor !== tensor.name) {
          slot.engine.reset();
          slot.tensor = tensor.name;
          slot.opened = openMerged(tensor, method, checkpoints, slot.engine, options);
          slot.opened.catch(() => undefined); // awaited by whoever reads
        }
        slot.readers++;
        slot.lastUsed = ++clock;
        return slot;
      }
      await new Promise<void>((resolve) => waiting.push(resolve));
    }
  };
  const leave = (slot: Slot, failed: boolean): void => {
    slot.readers--;
    if (failed) slot.tensor = undefined;
    const woken = waiting;
    waiting = [];
    for (const resolve of woken) resolve();
  };

  const storedDType = ({ model, tensor }: TensorReference) => checkpoints[model].tensors.get(tensor)?.dtype;
  const readBytes = async (name: string, read: ReadBytesOptions = {}): Promise<Uint8Array> => {
    const tensor = plans.get(name);
    const info = tensors.get(name);
    if (tensor === undefined || info === undefined) {
      throw unknownName({ kind: "tensor", name, known: plans.keys(), code: "UNKNOWN_TENSOR", file: location });
    }
    const { start = 0, end = info.byteLength, into = new Uint8Array(end - start), signal } = read;
    signal?.throwIfAborted();
    if (tensor.copy !== undefined && storedDType(tensor.copy) === tensor.dtype) {
      return checkpoints[tensor.copy.model].readBytes(tensor.copy.tensor, { start, end, into, signal });
    }
    const slot = await takeSlot(tensor);
    let failed = true;
    try {
      const { merged, reference } = await (slot.opened as Promise<MergedTensor>);
      if (merged === undefined) {
        await checkpoints[reference.model].readBytes(reference.tensor, { start, end, into, signal });
      } else {
        const { blockSize } = slot.engine;
        const elementBytes = byteLengthOf(tensor.dtype, 1);
        const first = Math.floor(start / elementBytes / blockSize) * blockSize;
        await storeTensor(merged, {
          dtype: tensor.dtype as KernelDType,
          name: `${location}: ${name}`,
          allowNonFinite: options.allowNonFinite,
          range: { start: first, end: Math.ceil(end / elementBytes) },
          write: async (at, bytes) => {
            const from = Math.max(start, at);
            const to = Math.min(end, at + bytes.length);
            if (from < to) into.set(bytes.subarray(from - at, to - at), from - start);
          },
        });
      }
      failed = false;
      return into;
    } catch (error) {
      if (!(error instanceof LoomweightError) || error.code !== "NON_FINITE") throw error;
      // On an engine of its own: others may read from the one at hand.
      const engine = createEngine({ kernels: createKernels({ bytes: kernelBytes }), ...engineSizes });
      throw (await blameModel(error, tensor, checkpoints, engine, options)) ?? error;
    } finally {
      leave(slot, failed);
    }
  };

  return {
    location,
    tensors,
    metadata: {},
    readBytes,
    async read(name, { range, signal } = {}) {
      const info = tensors.get(name);
      if (info === undefined) {
        throw unknownName({ kind: "tensor", name, known: plans.keys(), code: "UNKNOWN_TENSOR", file: location });
      }
      const [start, end] =
        range === undefined ? [] : [range.start, range.end].map((at) => byteLengthOf(info.dtype, at));
      const bytes = await readBytes(name, { start, end, signal });
      return fromData(
        info.dtype,
        codesFromBytes(info.dtype, bytes),
        range === undefined ? info.shape : [range.end - range.start],
      );
    },
    async close() {
      slots.splice(0);
    },
  };
}

/** The tensors that a plan gives, as a checkpoint would list them. */
export function plannedInfos(plan: MergePlan, location: string): ReadonlyMap<string, TensorInfo> {
  return new Map(
    plan.tensors.map(({ name, dtype, shape }): [string, TensorInfo] => [
      name,
      { name, dtype, shape, byteLength: byteLengthOf(dtype, elementCount(shape)), file: location, byteOffset: 0 },
    ]),
  );
}
