import { LoomweightError } from "@loomweight/tensor";

/** Checks a byte range of a file and its destination. Throws `INVALID_RANGE`. */
export function checkByteRange(file: string, size: number, start: number, end: number, into?: Uint8Array): void {
  if (!Number.isSafeInteger(start) || !Number.isSafeInteger(end) || start < 0 || end < start || end > size) {
    throw new LoomweightError({
      code: "INVALID_RANGE",
      file,
      problem: "byte range outside the file",
      expected: `0 <= start <= end <= ${size}`,
      found: `[${start}, ${end})`,
    });
  }
  if (into !== undefined && into.length !== end - start) {
    throw new LoomweightError({
      code: "INVALID_RANGE",
      file,
      problem: "`into` has another length than the range",
      expected: `${end - start} bytes`,
      found: `${into.length}`,
    });
  }
}

/** A fresh buffer for file content. Throws `OUT_OF_MEMORY` where JavaScript cannot hold that much at once. */
export function allocateBytes(file: string, length: number): Uint8Array<ArrayBuffer> {
  try {
    return new Uint8Array(length);
  } catch (cause) {
    throw new LoomweightError({
      code: "OUT_OF_MEMORY",
      file,
      problem: `cannot allocate ${length} bytes at once`,
      fix: "Read it in parts with `range` (or `start` and `end`).",
      cause,
    });
  }
}
