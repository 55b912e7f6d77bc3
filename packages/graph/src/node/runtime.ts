import { Worker } from "node:worker_threads";
import { LoomweightError } from "@loomweight/tensor";
import { createRuntimeOver, type HostChannel } from "../runtime/client.ts";
import type { HostResponse } from "../runtime/protocol.ts";
import type { Runtime } from "../runtime/runtime.ts";
import { onnxruntimeVersion } from "./session.ts";
import { workerUrl } from "./worker-url.ts";

export interface NodeRuntimeOptions {
  /**
   * Execution providers in order of preference; default ["cpu"]. "webgpu" is tested on a software Vulkan driver; "cuda"
   * and others are passed on to onnxruntime-node and are not tested.
   */
  readonly providers?: readonly string[];
  /** Threads inside one operator; default: onnxruntime's choice, one per physical core. */
  readonly threads?: number;
  /** Any other option of onnxruntime's sessions. */
  readonly sessionOptions?: Readonly<Record<string, unknown>>;
}

/**
 * onnxruntime-node in a thread of its own, so that the caller's event loop stays free. Ending the process during a run
 * waits for the run. Throws `RUNTIME_MISSING` with the install line, `WORKER_NOT_BUILT`.
 */
export async function createRuntime(options: NodeRuntimeOptions = {}): Promise<Runtime> {
  const { providers = ["cpu"], threads, sessionOptions } = options;
  return createRuntimeOver(openChannel(), {
    providers,
    sessionOptions: { ...(threads === undefined ? {} : { intraOpNumThreads: threads }), ...sessionOptions },
  });
}

function openChannel(): HostChannel {
  const flags = new Int32Array(new SharedArrayBuffer(8));
  const worker = new Worker(workerUrl(import.meta.url, "runtime-worker.js", "the runtime's thread"), {
    workerData: { flags },
    execArgv: [], // options for the main script (`--input-type`, loaders) are not for this one
  });
  const waiting = new Map<number, { resolve: (response: HostResponse) => void; reject: (cause: unknown) => void }>();
  let count = 0;
  let ended: LoomweightError | undefined;
  // A thread that is ended inside onnxruntime takes the whole process down: let the run end first, begin no other.
  const waitForRun = () => {
    Atomics.store(flags, 1, 1);
    while (Atomics.load(flags, 0) === 1) Atomics.wait(flags, 0, 1);
  };
  process.on("exit", waitForRun);
  worker.unref(); // an idle runtime keeps no program alive
  worker.on("message", (response: HostResponse) => {
    waiting.get(response.id)?.resolve(response);
    waiting.delete(response.id);
    if (waiting.size === 0) worker.unref();
  });
  const end = (cause?: unknown) => {
    process.off("exit", waitForRun);
    ended ??= new LoomweightError({
      code: "RUNTIME_CLOSED",
      problem: cause === undefined ? "the runtime is closed" : `the runtime's thread failed: ${String(cause)}`,
      cause,
    });
    for (const { reject } of waiting.values()) reject(ended);
    waiting.clear();
  };
  worker.on("error", end);
  worker.on("exit", () => end());
  return {
    installFix: `Install it: npm install onnxruntime-node@${onnxruntimeVersion}`,
    ask(question, transfer = []) {
      if (ended !== undefined) return Promise.reject(ended);
      const id = count++;
      return new Promise((resolve, reject) => {
        waiting.set(id, { resolve, reject });
        worker.ref();
        worker.postMessage({ ...question, id }, [...transfer]);
      });
    },
  };
}
