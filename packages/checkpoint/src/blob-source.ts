import { LoomweightError } from "@loomweight/tensor";
import { checkByteRange } from "./byte-range.ts";
import type { ByteSource } from "./checkpoint.ts";

/**
 * A Blob or File (from a file input, a drop, the origin's private file system): read on demand, never held whole.
 * A File that changes on disk after it was picked throws `FILE_CHANGED`.
 */
export function blobSource(blob: Blob, name: string): ByteSource {
  const { size } = blob;
  return {
    name,
    size,
    async read(start, end, into) {
      checkByteRange(name, size, start, end, into);
      let buffer: ArrayBuffer;
      try {
        buffer = await blob.slice(start, end).arrayBuffer();
      } catch (cause) {
        // Browsers report a file that was modified or removed since it was picked in this way.
        const changed = cause instanceof Error && (cause.name === "NotReadableError" || cause.name === "NotFoundError");
        throw new LoomweightError({
          code: changed ? "FILE_CHANGED" : "READ_FAILED",
          file: name,
          problem: changed ? "the file was changed or removed after it was opened" : "reading failed",
          fix: changed ? "Choose the file again." : undefined,
          cause,
        });
      }
      if (buffer.byteLength !== end - start) {
        throw new LoomweightError({
          code: "FILE_CHANGED",
          file: name,
          problem: "the file became shorter while it was read",
          expected: `${end - start} bytes`,
          found: `${buffer.byteLength}`,
        });
      }
      if (into === undefined) return new Uint8Array(buffer);
      into.set(new Uint8Array(buffer));
      return into;
    },
    async close() {},
  };
}
