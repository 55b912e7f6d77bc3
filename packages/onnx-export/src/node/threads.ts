import { availableParallelism } from "node:os";
import type { OnnxModel } from "@loomweight/graph";
import { createWriterPool, type WriterPool, workerUrl } from "@loomweight/graph/node";
import { byteLengthOf, elementCount, LoomweightError } from "@loomweight/tensor";
import type { WriteTask } from "./shared-models.ts";

export interface ThreadOptions {
  /** Threads that compute and write weights; default one per core, two at most, and one where there is little to do. */
  readonly workers?: number;
}

const mostWorkers = 64;
const usualWorkers = 2;
/** A thread takes some tenths of a second to start: it pays from this many bytes of output on. */
const bytesPerWorker = 64 * 2 ** 20;

/** Threads for writing these models, or undefined where the calling one does it alone. Throws `INVALID_OPTION`. */
export function threadsFor(
  models: readonly OnnxModel[],
  task: WriteTask | undefined,
  { workers }: ThreadOptions,
): WriterPool | undefined {
  if (workers !== undefined && !(Number.isSafeInteger(workers) && workers >= 1 && workers <= mostWorkers)) {
    throw new LoomweightError({
      code: "INVALID_OPTION",
      problem: "the number of threads is wrong",
      option: "workers",
      expected: `a whole number from 1 to ${mostWorkers}`,
      found: String(workers),
    });
  }
  if (task === undefined) return undefined;
  let bytes = 0;
  for (const { graph } of models) {
    for (const { dtype, shape } of graph.initializers.values()) {
      if (dtype !== "string") bytes += byteLengthOf(dtype, elementCount(shape));
    }
  }
  // run from source, threads run the last build: only where they are asked for
  const usual = new URL(import.meta.url).pathname.endsWith(".ts") ? 1 : usualWorkers;
  const paying = Math.min(usual, availableParallelism(), Math.floor(bytes / bytesPerWorker));
  const count = workers ?? paying;
  if (count <= 1) return undefined;
  const script = workerUrl(import.meta.url, "write-thread.js", "the threads that write weights", "onnx-export");
  return createWriterPool({ workers: count, script, task });
}
