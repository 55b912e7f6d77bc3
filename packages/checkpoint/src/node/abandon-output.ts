import { LoomweightError } from "@loomweight/tensor";
import type { FileOutputFolder } from "./output-folder.ts";

/** Faults of the machine rather than of the input: what is finished is worth keeping. */
const passingFaults = new Set(["DISK_FULL", "READ_FAILED", "WRITE_FAILED", "TOO_MANY_FILES", "WORKER_FAILED"]);

export interface AbandonOptions {
  /** Tensors of the whole output, for messages. */
  readonly tensorsTotal: number;
  readonly signal?: AbortSignal;
  /** Called when what is finished was kept for a later run. */
  readonly onSuspend?: (kept: { readonly tensorsDone: number; readonly tensorsTotal: number }) => void;
}

/**
 * Closes an output with a journal after an error: what is finished is kept where the run was interrupted or the machine
 * failed, and discarded where the input is at fault. Gives the error to throw.
 */
export async function abandonOutput(
  folder: FileOutputFolder,
  error: unknown,
  { tensorsTotal, signal, onSuspend }: AbandonOptions,
): Promise<unknown> {
  const passing = error instanceof LoomweightError && passingFaults.has(error.code);
  if (!passing && signal?.aborted !== true) {
    await folder.discard();
    return error;
  }
  const tensorsDone = await folder.suspend();
  if (tensorsDone === 0) return error;
  onSuspend?.({ tensorsDone, tensorsTotal });
  if (!passing) return error;
  const { details } = error;
  const advice = `${tensorsDone} of ${tensorsTotal} tensors are finished and kept: then continue with --resume (resume: true).`;
  return new LoomweightError({ ...details, fix: details.fix === undefined ? advice : `${details.fix} ${advice}` });
}
