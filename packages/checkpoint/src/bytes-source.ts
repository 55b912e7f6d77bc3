import { LoomweightError } from "@loomweight/tensor";
import { allocateBytes, checkByteRange } from "./byte-range.ts";
import type { ByteSource } from "./checkpoint.ts";

/** A file that lies in memory. Not copied: leave the bytes unchanged while it is in use. */
export function bytesSource(bytes: Uint8Array | ArrayBuffer, name: string): ByteSource {
  const content = bytes instanceof Uint8Array ? bytes : new Uint8Array(bytes);
  const size = content.length;
  return {
    name,
    size,
    async read(start, end, into) {
      checkByteRange(name, size, start, end, into);
      if (content.length !== size) {
        throw new LoomweightError({
          code: "FILE_CHANGED",
          file: name,
          problem: "the buffer was transferred or resized",
          expected: `${size} bytes`,
          found: `${content.length}`,
        });
      }
      const out = into ?? allocateBytes(name, end - start);
      out.set(content.subarray(start, end));
      return out;
    },
    async close() {},
  };
}
