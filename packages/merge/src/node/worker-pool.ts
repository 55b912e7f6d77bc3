import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import type { FileTensorWriter } from "@loomweight/checkpoint/node";
import { createKernels } from "@loomweight/kernels";
import { errorFromWire, LoomweightError } from "@loomweight/tensor";
import { type ExecuteOptions, outputBytes, trackProgress } from "../execute.ts";
import { createEngine, engineSizesWithin } from "../lazy/engine.ts";
import { mergeTensor, type TensorSink } from "../merge-tensor.ts";
import type { OpenMerge } from "./open-merge.ts";
import type { WorkerReport, WorkerRequest, WorkerTask } from "./worker-protocol.ts";

/** A worker is given tensors until it has this many bytes to write, or this many tensors, beside the one at hand. */
const bytesAhead = 4 * 2 ** 20;
const tensorsAhead = 32;

/** One worker thread. */
interface Hand {
  readonly worker: Worker;
  /** Tensors given to it and not finished. */
  readonly given: Set<number>;
  ended: boolean;
}

/**
 * Carries out a plan in `count` threads, the calling one among them: each opens its own files and kernels and writes
 * positionally into the files that `writer` created. Tensors are given out largest first, a few ahead, so that no
 * worker waits. The bytes are the same for every count. When one fails the others stop at their next tile, and all have
 * ended before the failure is passed on. Throws as `executePlan`, and `WORKER_NOT_BUILT`, `WORKER_FAILED`.
 */
export async function executeInWorkers(
  task: WorkerTask,
  { plan, method, checkpoints }: Pick<OpenMerge, "plan" | "method" | "checkpoints">,
  count: number,
  writer: FileTensorWriter,
  options: Pick<ExecuteOptions, "signal" | "onProgress" | "onFinished">,
): Promise<void> {
  const { signal, onProgress, onFinished } = options;
  const { tensors } = plan;
  const sizes = tensors.map(outputBytes);
  const queue = [...tensors.keys()]
    .filter((index) => !writer.finished.has(tensors[index].name))
    .sort((a, b) => sizes[b] - sizes[a] || a - b);
  const progress = trackProgress(plan, writer.finished, onProgress);
  let failure: { readonly reason: unknown } | undefined;
  let next = 0;
  const stop = new AbortController();

  const send = ({ worker }: Hand, request: WorkerRequest) => worker.postMessage(request);
  const stopAll = (reason: unknown) => {
    failure ??= { reason };
    stop.abort(failure.reason);
    for (const hand of hands) if (!hand.ended) send(hand, { kind: "stop" });
  };
  const giveWork = (hand: Hand) => {
    if (failure !== undefined) return;
    const batch: number[] = [];
    let ahead = [...hand.given].reduce((sum, index) => sum + sizes[index], 0);
    while (
      next < queue.length &&
      hand.given.size < tensorsAhead &&
      (hand.given.size < task.concurrency || ahead < bytesAhead)
    ) {
      const index = queue[next++];
      batch.push(index);
      hand.given.add(index);
      ahead += sizes[index];
    }
    if (batch.length > 0) send(hand, { kind: "merge", tensors: batch });
    if (next === queue.length && hand.given.size === 0) send(hand, { kind: "end" });
  };
  const receive = (hand: Hand, message: WorkerReport) => {
    if (message.kind === "written") {
      progress.written(tensors[message.tensor].name, message.bytes);
    } else if (message.kind === "finished") {
      const { name } = tensors[message.tensor];
      writer.markWritten(name, 0, sizes[message.tensor]);
      onFinished?.(name);
      progress.finished(name);
      hand.given.delete(message.tensor);
      giveWork(hand);
    } else {
      hand.ended = true;
      if (message.failure !== undefined) stopAll(errorFromWire(message.failure));
    }
  };
  const { url, execArgv } = workerScript();
  const hands: Hand[] = [];
  const start = (): Promise<void> =>
    new Promise((resolve) => {
      const worker = new Worker(url, { workerData: task, name: "loomweight-merge", execArgv });
      const hand: Hand = { worker, given: new Set(), ended: false };
      hands.push(hand);
      const guard = (action: () => void) => {
        try {
          action();
        } catch (reason) {
          stopAll(reason);
        }
      };
      worker.on("message", (message: WorkerReport) => guard(() => receive(hand, message)));
      worker.on("error", (cause) => {
        hand.ended = true;
        stopAll(workerFailed(cause));
      });
      worker.on("exit", (code) => {
        if (!hand.ended) stopAll(workerFailed(new Error(`it ended with code ${code}`)));
        hand.ended = true;
        resolve();
      });
      giveWork(hand);
    });

  /** The calling thread's share: one tensor after the other, until none is left to give out. */
  const mergeHere = async (): Promise<void> => {
    const { kernelBytes, ...sizes } = engineSizesWithin(task.memory);
    const engine = createEngine({ kernels: createKernels({ bytes: kernelBytes }), ...sizes });
    const { seed, allowNonFinite } = task;
    const write: TensorSink = async (name, start, bytes) => {
      const written = bytes.length;
      await writer.write(name, start, bytes);
      progress.written(name, written);
    };
    while (failure === undefined && next < queue.length) {
      const tensor = tensors[queue[next++]];
      await mergeTensor(tensor, method, checkpoints, engine, write, { seed, allowNonFinite, signal: stop.signal });
      onFinished?.(tensor.name);
      progress.finished(tensor.name);
    }
  };

  signal?.throwIfAborted();
  const onAbort = () => stopAll(signal?.reason);
  signal?.addEventListener("abort", onAbort);
  try {
    const workers = Array.from({ length: Math.min(count, queue.length) - 1 }, start);
    await mergeHere().catch(stopAll);
    await Promise.all(workers);
  } finally {
    signal?.removeEventListener("abort", onAbort);
  }
  if (failure !== undefined) throw (failure as { reason: unknown }).reason;
}

function workerFailed(cause: unknown): LoomweightError {
  return new LoomweightError({
    code: "WORKER_FAILED",
    problem: `a worker thread of the merge failed: ${cause instanceof Error ? cause.message : String(cause)}`,
    fix: "Try fewer workers (--workers 1, or workers: 1).",
    cause,
  });
}

/**
 * The worker's script: beside this file in a build, in the build of the package when run from source. The latter runs
 * without this process's flags, which may lead to sources.
 */
function workerScript(): { readonly url: URL; readonly execArgv: string[] } {
  const here = import.meta.url;
  const fromSource = new URL(here).pathname.endsWith(".ts");
  const candidates = fromSource ? ["../../dist/node/merge-worker.js"] : ["./merge-worker.js", "./node/merge-worker.js"];
  for (const candidate of candidates) {
    const url = new URL(candidate, here);
    if (existsSync(fileURLToPath(url))) return { url, execArgv: fromSource ? [] : inheritedFlags() };
  }
  throw new LoomweightError({
    code: "WORKER_NOT_BUILT",
    problem: "the script of the merge's threads is missing",
    file: fileURLToPath(new URL(candidates[0], here)),
    fix: fromSource ? "Build the package: pnpm --filter @loomweight/merge build" : "Install @loomweight/merge again.",
  });
}

/** This process's flags, without those that say what it runs: a worker has its script. */
function inheritedFlags(): string[] {
  const flags = process.execArgv;
  const isEval = (flag: string | undefined) => /^(-e|-p|-pe|--eval|--print)$/.test(flag ?? "");
  return flags.filter((flag, index) => !flag.startsWith("--input-type") && !isEval(flag) && !isEval(flags[index - 1]));
}
