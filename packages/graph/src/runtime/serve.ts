import type { Engine } from "./engine.ts";
import { createHost } from "./host.ts";
import type { HostRequest, HostResponse } from "./protocol.ts";

/** Tells an onnxruntime that is not installed from one that fails. */
export class MissingEngine extends Error {}

/** Where a host gets questions from and sends answers to: a thread's port, a worker's scope. */
export interface HostPort {
  listen(onRequest: (request: HostRequest) => void): void;
  send(response: HostResponse, transfer: readonly ArrayBuffer[]): void;
  /** Stops listening, so that the thread can end. */
  close(): void;
  /** Called around each request: true before it, false after it. Returns false where no more may begin. */
  busy?(working: boolean): boolean;
}

/** Answers requests one after the other: a run is never cut off by a close. */
export function serveHost(port: HostPort, load: () => Promise<Engine>): void {
  const host = createHost(load);
  let last: Promise<void> = Promise.resolve();
  port.listen((request) => {
    last = last.then(async () => {
      if (port.busy?.(true) === false) return;
      const { id, ...question } = request;
      try {
        const { value, tensors, transfer } = await host.answer(question);
        port.send({ id, kind: "done", value, tensors }, transfer);
      } catch (cause) {
        const message = cause instanceof Error ? cause.message : String(cause);
        port.send({ id, kind: "failed", reason: cause instanceof MissingEngine ? "missing" : "error", message }, []);
      }
      port.busy?.(false);
      if (request.kind === "close") port.close();
    });
  });
}
