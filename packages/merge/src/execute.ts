import type { Checkpoint } from "@loomweight/checkpoint";
import { createKernels, type Kernels } from "@loomweight/kernels";
import { byteLengthOf, elementCount } from "@loomweight/tensor";
import type { AnyMergeMethod } from "./define.ts";
import { createEngine, engineSizesWithin } from "./lazy/engine.ts";
import { type MergeTensorOptions, mergeTensor, type TensorSink } from "./merge-tensor.ts";
import type { MergePlan, TensorPlan } from "./plan/plan.ts";

/** Bytes of weights in flight, unless asked otherwise. */
export const defaultMemory: number = 256 * 2 ** 20;

export interface MergeProgress {
  /** The tensor that was worked on last. */
  readonly tensor: string;
  readonly tensorsDone: number;
  readonly tensorsTotal: number;
  /** Written so far, parts of unfinished tensors among them. */
  readonly bytesDone: number;
  readonly bytesTotal: number;
  /** Of `bytesDone`: what an earlier run had finished. */
  readonly bytesKept: number;
}

export interface ExecuteOptions extends MergeTensorOptions {
  /** Called after every tile written and every tensor finished. */
  readonly onProgress?: (progress: MergeProgress) => void;
  /** Called when the sink has taken all bytes of a tensor. */
  readonly onFinished?: (tensor: string) => void;
  /** Tensors that an earlier run finished: they are left out. Default none. */
  readonly finished?: ReadonlySet<string>;
  /** Tensors worked on at once, so that reads and writes of one overlap the computing of another; default 2. */
  readonly concurrency?: number;
  /** Most bytes of weights in flight, over all of them: tiles read and written, sources held, notes. Default 256 MB. */
  readonly memory?: number;
  /** Makes the kernels of each of them; default `createKernels` with what `memory` needs. */
  readonly newKernels?: () => Kernels;
}

/**
 * Carries out a plan: every output tensor is read, merged and given to `sink` tile by tile. `checkpoints` are those of
 * the plan's models, in its order. The bytes do not depend on concurrency or tile sizes. Throws what the method, the
 * checkpoints or the sink throw, `NON_FINITE`, and the reason of an abort.
 */
export async function executePlan(
  plan: MergePlan,
  method: AnyMergeMethod,
  checkpoints: readonly Checkpoint[],
  sink: TensorSink,
  options: ExecuteOptions = {},
): Promise<void> {
  const { concurrency = 2, finished = new Set(), memory = defaultMemory } = options;
  const { kernelBytes, ...sizes } = engineSizesWithin(memory / concurrency);
  const { newKernels = () => createKernels({ bytes: kernelBytes }) } = options;
  const tensors = plan.tensors.filter(({ name }) => !finished.has(name));
  const progress = trackProgress(plan, finished, options.onProgress);
  let next = 0;
  const stop = new AbortController();
  const countingSink: TensorSink = async (name, start, bytes) => {
    const count = bytes.length; // the array may be another by the time it has been taken
    await sink(name, start, bytes);
    progress.written(name, count);
  };
  const work = async (): Promise<void> => {
    const engine = createEngine({ kernels: newKernels(), ...sizes });
    while (next < tensors.length) {
      const tensor = tensors[next++];
      options.signal?.throwIfAborted();
      if (stop.signal.aborted) return;
      await mergeTensor(tensor, method, checkpoints, engine, countingSink, options);
      options.onFinished?.(tensor.name);
      progress.finished(tensor.name);
    }
  };
  const workers = Array.from({ length: Math.min(concurrency, tensors.length) }, () =>
    work().catch((reason) => {
      stop.abort();
      throw reason;
    }),
  );
  // All have ended before the first failure is passed on: nobody writes into an output that is being discarded.
  const outcomes = await Promise.allSettled(workers);
  const failed = outcomes.find((outcome) => outcome.status === "rejected");
  if (failed !== undefined) throw failed.reason;
}

/** Bytes of a tensor in the output. */
export function outputBytes({ dtype, shape }: Pick<TensorPlan, "dtype" | "shape">): number {
  return byteLengthOf(dtype, elementCount(shape));
}

/** Counts what is written and tells `listener`. */
export function trackProgress(
  plan: MergePlan,
  kept: ReadonlySet<string>,
  listener: ((progress: MergeProgress) => void) | undefined,
): { written(tensor: string, bytes: number): void; finished(tensor: string): void } {
  let bytesTotal = 0;
  let bytesKept = 0;
  for (const tensor of plan.tensors) {
    bytesTotal += outputBytes(tensor);
    if (kept.has(tensor.name)) bytesKept += outputBytes(tensor);
  }
  const tensorsTotal = plan.tensors.length;
  let tensorsDone = plan.tensors.filter(({ name }) => kept.has(name)).length;
  let bytesDone = bytesKept;
  const tell = (tensor: string) => listener?.({ tensor, tensorsDone, tensorsTotal, bytesDone, bytesTotal, bytesKept });
  return {
    written(tensor, bytes) {
      bytesDone += bytes;
      tell(tensor);
    },
    finished(tensor) {
      tensorsDone++;
      tell(tensor);
    },
  };
}
