import { type MessagePort, parentPort, workerData } from "node:worker_threads";
import type { Engine, OrtModule } from "../runtime/engine.ts";
import type { HostRequest } from "../runtime/protocol.ts";
import { type HostPort, MissingEngine, serveHost } from "../runtime/serve.ts";

async function loadNode(): Promise<Engine> {
  let loaded: OrtModule & { default?: OrtModule };
  try {
    loaded = (await import("onnxruntime-node")) as unknown as OrtModule & { default?: OrtModule };
  } catch (cause) {
    throw new MissingEngine(cause instanceof Error ? cause.message : String(cause));
  }
  const ort = loaded.InferenceSession === undefined && loaded.default !== undefined ? loaded.default : loaded;
  return { ort, writesInPlace: true, readsDevice: false };
}

function portOf(port: MessagePort, flags: Int32Array): HostPort {
  return {
    listen: (onRequest) => port.on("message", (request: HostRequest) => onRequest(request)),
    send: (response, transfer) => port.postMessage(response, [...transfer]),
    close: () => port.close(), // with no port to listen on the thread ends by itself; it is never terminated
    busy(working) {
      // [0]: a request is being worked on. [1]: the process is ending, begin nothing more.
      Atomics.store(flags, 0, working ? 1 : 0);
      if (!working) Atomics.notify(flags, 0);
      if (!working || Atomics.load(flags, 1) === 0) return true;
      Atomics.store(flags, 0, 0);
      Atomics.notify(flags, 0);
      return false;
    },
  };
}

if (parentPort !== null) serveHost(portOf(parentPort, (workerData as { flags: Int32Array }).flags), loadNode);
