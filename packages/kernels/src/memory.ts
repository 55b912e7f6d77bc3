import { LoomweightError } from "./errors.ts";
import type { KernelMemory } from "./kernels.ts";

const alignment = 16;

/**
 * A stack of zeroed blocks in `buffer` from byte `start` on, which never grows. Blocks are freed in reverse order by
 * `release(mark)`; nothing checks that a freed block is no longer used.
 */
export function createMemory(buffer: ArrayBuffer, start: number): KernelMemory {
  let top = start;
  const take = (bytes: number): number => {
    if (!Number.isSafeInteger(bytes) || bytes < 0) {
      throw new LoomweightError({
        code: "KERNEL_ARGUMENT",
        problem: "a block cannot be allocated",
        expected: "a whole number of bytes of at least 0",
        found: String(bytes),
      });
    }
    if (bytes > buffer.byteLength - top) {
      throw new LoomweightError({
        code: "KERNEL_MEMORY",
        problem: "kernel memory is used up",
        expected: `at most ${buffer.byteLength - top} more of ${buffer.byteLength - start} bytes`,
        found: `${bytes} bytes`,
        fix: "Release blocks that are no longer used, work on smaller tiles, or create the kernels with more `bytes`.",
      });
    }
    const at = top;
    top = Math.min(buffer.byteLength, Math.ceil((top + bytes) / alignment) * alignment);
    return at;
  };
  return {
    capacity: buffer.byteLength - start,
    allocate: (bytes) => new Uint8Array(buffer, take(bytes), bytes).fill(0),
    allocateUnset: (bytes) => new Uint8Array(buffer, take(bytes), bytes),
    allocateValues: (count) => new Float64Array(buffer, take(8 * count), count).fill(0),
    mark: () => top,
    release(mark) {
      if (!(mark >= start && mark <= top)) {
        throw new LoomweightError({
          code: "KERNEL_ARGUMENT",
          problem: "blocks cannot be released",
          expected: "a mark made by `mark` at or below the present height",
          found: String(mark),
        });
      }
      top = mark;
    },
  };
}
