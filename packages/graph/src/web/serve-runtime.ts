import type { HostRequest } from "../runtime/protocol.ts";
import { serveHost } from "../runtime/serve.ts";
import { loadWeb } from "./engine.ts";

/** What a dedicated worker's global scope offers; browsers' types need another library for it. */
interface WorkerScope {
  addEventListener(kind: "message", listener: (event: { data: HostRequest }) => void): void;
  postMessage(message: unknown, transfer: readonly ArrayBuffer[]): void;
  close(): void;
}

export interface ServeRuntimeOptions {
  /** Providers the page will ask for; decides which build of onnxruntime-web is imported. Default ["wasm"]. */
  readonly providers?: readonly string[];
  /** The module of onnxruntime-web; default: imported. */
  readonly ort?: unknown;
}

/** Makes a worker the home of a runtime: its script is this call, and the page passes it as `worker` to `createRuntime`. */
export function serveRuntime({ providers = ["wasm"], ort }: ServeRuntimeOptions = {}): void {
  const scope = globalThis as unknown as WorkerScope;
  serveHost(
    {
      listen: (onRequest) => scope.addEventListener("message", ({ data }) => onRequest(data)),
      send: (response, transfer) => scope.postMessage(response, transfer),
      close: () => scope.close(),
    },
    () => loadWeb(providers, ort),
  );
}
