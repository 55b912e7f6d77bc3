import { LoomweightError } from "@loomweight/tensor";
import type { StoreAnswer, StoreWrite } from "./protocol.ts";

/** Writes to the store through a port. Resolves when the bytes are stored; `bytes` stay the caller's. */
export type StoreWriter = (file: number, position: number, bytes: Uint8Array) => Promise<void>;

/** The writing end of a port that the store serves. Throws `WRITE_FAILED`. */
export function storeWriter(port: MessagePort): StoreWriter {
  const waiting = new Map<number, (answer: StoreAnswer) => void>();
  let last = 0;
  port.onmessage = ({ data }: MessageEvent<StoreAnswer>) => {
    waiting.get(data.id)?.(data);
    waiting.delete(data.id);
  };
  return async (file, position, bytes) => {
    const id = ++last;
    const copy = new Uint8Array(bytes); // goes over to the store; `bytes` may be a view of memory that is used again
    const { failure } = await new Promise<StoreAnswer>((resolve) => {
      waiting.set(id, resolve);
      const message: StoreWrite = { id, file, position, bytes: copy };
      port.postMessage(message, [copy.buffer]);
    });
    if (failure === undefined) return;
    throw new LoomweightError({
      code: "WRITE_FAILED",
      problem: `the merged model cannot be stored: ${failure.message}`,
      fix: "Make room on the disk, or allow this page more storage.",
    });
  };
}
