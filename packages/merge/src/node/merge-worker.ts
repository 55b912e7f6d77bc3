import { type MessagePort, parentPort, workerData } from "node:worker_threads";
import { openPositionalWriter } from "@loomweight/checkpoint/node";
import { createKernels } from "@loomweight/kernels";
import { errorToWire, LoomweightError } from "@loomweight/tensor";
import { createEngine, engineSizesWithin } from "../lazy/engine.ts";
import { mergeTensor } from "../merge-tensor.ts";
import { loadMethod } from "./method-reference.ts";
import { type OpenMerge, withOpenMerge } from "./open-merge.ts";
import { planDigest } from "./run-facts.ts";
import type { WorkerReport, WorkerRequest, WorkerTask } from "./worker-protocol.ts";

/** Tensors given to this worker and not begun, and those who wait for more. */
interface Queue {
  readonly tensors: number[];
  waiting: (() => void)[];
  ended: boolean;
}

/** Merges the tensors that it is given until it is told to end or to stop, or something fails. */
async function work(port: MessagePort, task: WorkerTask): Promise<void> {
  const stop = new AbortController();
  const queue: Queue = { tensors: [], waiting: [], ended: false };
  const wake = () => {
    for (const resolve of queue.waiting.splice(0)) resolve();
  };
  const report = (message: WorkerReport) => port.postMessage(message);
  port.on("message", (request: WorkerRequest) => {
    if (request.kind === "merge") queue.tensors.push(...request.tensors);
    else queue.ended = true;
    if (request.kind === "stop") stop.abort();
    wake();
  });
  const mergeAll = async (merge: OpenMerge): Promise<void> => {
    refuseChanged(task, merge);
    const { plan, method, checkpoints } = merge;
    const { seed, allowNonFinite } = task;
    const writer = await openPositionalWriter(task.outputPath, task.layout);
    const { kernelBytes, ...sizes } = engineSizesWithin(task.memory / task.concurrency);
    const loop = async (): Promise<void> => {
      const kernels = createKernels({ bytes: kernelBytes, module: task.kernelModule });
      const engine = createEngine({ kernels, ...sizes });
      for (;;) {
        while (queue.tensors.length === 0 && !queue.ended) {
          await new Promise<void>((resolve) => queue.waiting.push(resolve));
        }
        stop.signal.throwIfAborted();
        const index = queue.tensors.shift();
        if (index === undefined) return;
        const write = async (name: string, start: number, bytes: Uint8Array) => {
          stop.signal.throwIfAborted();
          const count = bytes.length;
          await writer.write(name, start, bytes);
          report({ kind: "written", tensor: index, bytes: count });
        };
        const options = { seed, allowNonFinite, signal: stop.signal };
        await mergeTensor(plan.tensors[index], method, checkpoints, engine, write, options);
        report({ kind: "finished", tensor: index });
      }
    };
    const loops = Array.from({ length: task.concurrency }, () =>
      loop().catch((reason) => {
        queue.ended = true;
        stop.abort(reason);
        wake();
        throw reason;
      }),
    );
    try {
      const outcomes = await Promise.allSettled(loops);
      if (outcomes.some((outcome) => outcome.status === "rejected")) throw stop.signal.reason;
    } finally {
      await writer.close();
    }
  };
  try {
    const methods = await Promise.all(task.methods.map(loadMethod));
    await withOpenMerge({ ...task.inputs, methods }, mergeAll);
    report({ kind: "ended" });
  } catch (error) {
    report({ kind: "ended", failure: errorToWire(error) });
  } finally {
    port.close(); // with no port to listen on the thread ends by itself
  }
}

/** Throws `FILE_CHANGED` where the models' files, or what follows from them, are not what the caller saw. */
function refuseChanged({ sources, planDigest: expected, inputs }: WorkerTask, merge: OpenMerge): void {
  const file = Object.keys(sources).find((each) => sources[each] !== merge.sources[each]);
  if (file === undefined && planDigest(merge) === expected) return;
  throw new LoomweightError({
    code: "FILE_CHANGED",
    file: file ?? inputs.file,
    problem: "the file was changed while it was in use",
    expected: file === undefined ? undefined : sources[file],
    found: file === undefined ? "another plan of the merge" : (merge.sources[file] ?? "no such file of the models"),
    fix: "Wait until nothing writes to it, then run this again.",
  });
}

if (parentPort !== null) void work(parentPort, workerData as WorkerTask);
