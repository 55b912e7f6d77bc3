import { availableParallelism } from "node:os";
import type { FileTensorWriter } from "@loomweight/checkpoint/node";
import { kernelModule } from "@loomweight/kernels";
import { invalidOption } from "@loomweight/tensor";
import { defaultMemory, executePlan, outputBytes } from "../execute.ts";
import { leastEngineMemory } from "../lazy/engine.ts";
import type { MergePlan } from "../plan/plan.ts";
import type { MergeModelOptions } from "./merge-model.ts";
import type { KnownMethods } from "./method-reference.ts";
import type { MergeInputs, OpenMerge } from "./open-merge.ts";
import { planDigest } from "./run-facts.ts";
import { executeInWorkers } from "./worker-pool.ts";
import type { WorkerTask } from "./worker-protocol.ts";

/** How a plan was carried out. */
export interface PlanRun {
  /** Threads, the calling one among them. */
  readonly workers: number;
  readonly tensorsKept: number;
  readonly warnings: readonly string[];
}

const maxWorkers = 64;
const defaultWorkers = 2;
/** A thread takes a few tenths of a second to start: it pays from this many bytes of output on. */
const bytesPerWorker = 64 * 2 ** 20;
const memoryPerThread = 64 * 2 ** 20;

/** Throws `INVALID_OPTION` unless `memory` is a sensible number of bytes. */
export function refuseMemory(memory: number | undefined): void {
  if (memory === undefined || (Number.isSafeInteger(memory) && memory >= 2 * leastEngineMemory)) return;
  throw invalidOption({ option: "memory" }, memory, `a whole number of bytes from ${2 * leastEngineMemory}`);
}

/** Throws `INVALID_OPTION` unless `workers` is a sensible number of threads. */
export function refuseWorkers(workers: number | undefined): void {
  if (workers === undefined || (Number.isSafeInteger(workers) && workers >= 1 && workers <= maxWorkers)) return;
  throw invalidOption({ option: "workers" }, workers, `a whole number from 1 to ${maxWorkers}`);
}

/**
 * Carries out a plan on this thread or in workers, into the files that `writer` created in `outputPath`. A method that
 * was given as a bare value cannot be handed to workers: it runs on this thread, and a warning says so where more would
 * have been used.
 */
export async function runPlan(
  job: {
    readonly merge: OpenMerge;
    readonly inputs: MergeInputs;
    readonly known: KnownMethods;
    readonly outputPath: string;
    readonly writer: FileTensorWriter;
  },
  options: MergeModelOptions,
): Promise<PlanRun> {
  const { merge, inputs, known, outputPath, writer } = job;
  const { plan, method, methods, checkpoints } = merge;
  const { seed, allowNonFinite, signal, onProgress } = options;
  const warnings: string[] = [];
  const onFinished = writer.complete;
  let workers = workerCount(plan, writer.finished, options.workers);
  const bare = methods.find((each) => !known.references.has(each));
  if (workers > 1 && bare !== undefined) {
    warnings.push(
      `the method ${bare.name} was given as a value and runs on the calling thread: give it as { module, export } to use ${workers} workers`,
    );
    workers = 1;
  }
  if (workers > 1) {
    const { methods: _, ...plainInputs } = inputs;
    const task: WorkerTask = {
      inputs: plainInputs,
      methods: known.methods.flatMap((each) => known.references.get(each) ?? []),
      planDigest: planDigest(merge),
      sources: merge.sources,
      outputPath,
      layout: writer.plan,
      seed,
      allowNonFinite,
      concurrency: 1,
      memory: memoryOf(options, workers) / workers,
      kernelModule: kernelModule(),
    };
    await executeInWorkers(task, merge, workers, writer, { signal, onProgress, onFinished });
  } else {
    const { finished } = writer;
    const memory = memoryOf(options, 1);
    const each = { seed, allowNonFinite, signal, onProgress, onFinished, finished, memory };
    await executePlan(plan, method, checkpoints, writer.write, each);
  }
  return { workers, tensorsKept: writer.finished.size, warnings };
}

/** Bytes of weights in flight: as asked for, else 256 MB, and 64 MB for every thread beyond the fourth. */
function memoryOf({ memory }: MergeModelOptions, threads: number): number {
  if (memory === undefined) return Math.max(defaultMemory, threads * memoryPerThread);
  const least = leastEngineMemory * Math.max(2, threads);
  if (memory >= least) return memory;
  throw invalidOption({ option: "memory" }, memory, `at least ${least} bytes for ${threads} workers`);
}

/** As many as asked for, or as pay; never more than there are tensors left. */
function workerCount(plan: MergePlan, finished: ReadonlySet<string>, asked: number | undefined): number {
  const left = plan.tensors.filter(({ name }) => !finished.has(name));
  const bytes = left.reduce((sum, tensor) => sum + outputBytes(tensor), 0);
  const paying = Math.min(defaultWorkers, availableParallelism(), Math.floor(bytes / bytesPerWorker));
  return Math.max(1, Math.min(left.length, asked ?? paying));
}
