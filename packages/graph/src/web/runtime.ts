import { LoomweightError } from "@loomweight/tensor";
import { createRuntimeOver, type HostChannel } from "../runtime/client.ts";
import { createHost } from "../runtime/host.ts";
import type { HostQuestion, HostResponse } from "../runtime/protocol.ts";
import type { Runtime } from "../runtime/runtime.ts";
import { MissingEngine } from "../runtime/serve.ts";
import { loadWeb } from "./engine.ts";

export interface WebRuntimeOptions {
  /** Execution providers in order of preference; default ["wasm"]. With "webgpu" first, states stay on the GPU. */
  readonly providers?: readonly ("wasm" | "webgpu" | (string & {}))[];
  /**
   * The module of onnxruntime-web to use, for pages that choose its build or set `env.wasm.wasmPaths` themselves;
   * default: imported. Not with `worker`.
   */
  readonly ort?: unknown;
  /** A worker whose script calls `serveRuntime`: runs then leave the page responsive. Default: in the page itself. */
  readonly worker?: Worker;
  /** Any option of onnxruntime's sessions. */
  readonly sessionOptions?: Readonly<Record<string, unknown>>;
}

const installFix = "Install it: npm install onnxruntime-web@1.30.0";

/** onnxruntime-web, in the page or in a worker of it. Throws `RUNTIME_MISSING`. */
export async function createRuntime(options: WebRuntimeOptions = {}): Promise<Runtime> {
  const { providers = ["wasm"], ort, worker, sessionOptions = {} } = options;
  const channel = worker === undefined ? channelHere(providers, ort) : channelTo(worker);
  return createRuntimeOver(channel, { providers, sessionOptions });
}

/** A host in this very thread: questions are answered one after the other. */
function channelHere(providers: readonly string[], ort: unknown): HostChannel {
  const host = createHost(() => loadWeb(providers, ort));
  let last: Promise<unknown> = Promise.resolve();
  const answer = async (question: HostQuestion): Promise<HostResponse> => {
    try {
      const { value, tensors } = await host.answer(question);
      return { id: 0, kind: "done", value, tensors };
    } catch (cause) {
      const message = cause instanceof Error ? cause.message : String(cause);
      return { id: 0, kind: "failed", reason: cause instanceof MissingEngine ? "missing" : "error", message };
    }
  };
  return {
    installFix,
    ask(question) {
      const next = last.then(() => answer(question));
      last = next;
      return next;
    },
  };
}

function channelTo(worker: Worker): HostChannel {
  const waiting = new Map<number, { resolve: (response: HostResponse) => void; reject: (cause: unknown) => void }>();
  let count = 0;
  worker.addEventListener("message", ({ data }: MessageEvent<HostResponse>) => {
    waiting.get(data.id)?.resolve(data);
    waiting.delete(data.id);
  });
  worker.addEventListener("error", ({ message }) => {
    const fault = new LoomweightError({ code: "RUNTIME_CLOSED", problem: `the runtime's worker failed: ${message}` });
    for (const { reject } of waiting.values()) reject(fault);
    waiting.clear();
  });
  return {
    installFix,
    ask: (question, transfer = []) =>
      new Promise((resolve, reject) => {
        const id = count++;
        waiting.set(id, { resolve, reject });
        worker.postMessage({ ...question, id }, [...transfer]);
      }),
  };
}
