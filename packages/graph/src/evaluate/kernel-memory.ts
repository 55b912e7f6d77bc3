import type { Kernels } from "@loomweight/kernels";

/** A kernel set whose memory results are put in. */
interface Place {
  readonly kernels: Kernels;
  readonly buffer: ArrayBuffer;
}

// Ops are synchronous, as the scope of their names is: set for the time of one `work` and restored.
let place: Place | undefined;

/**
 * Evaluates ops in the memory of a kernel set: float64 results are blocks of it, products and sums of operands that lie
 * there run without a copy, and nothing is left to the garbage collector. What does not fit goes to the heap. The
 * caller takes a `mark` before, reads the results, and releases it; results must not be used after that.
 */
export function withKernelMemory<T>(kernels: Kernels, work: () => T): T {
  const before = place;
  place = { kernels, buffer: kernels.allocate(0).buffer };
  try {
    return work();
  } finally {
    place = before;
  }
}

/** Float64 values to be overwritten, in kernel memory where `withKernelMemory` is at work and there is room. */
export function allocateResult(count: number): Float64Array {
  if (place === undefined || count * 8 > place.buffer.byteLength - place.kernels.mark()) return new Float64Array(count);
  const block = place.kernels.allocateUnset(count * 8);
  return new Float64Array(block.buffer, block.byteOffset, count);
}

/** The kernel set at work when all of `arrays` lie in its memory. */
export function kernelsHolding(...arrays: readonly Float64Array[]): Kernels | undefined {
  const now = place;
  return now !== undefined && arrays.every(({ buffer }) => buffer === now.buffer) ? now.kernels : undefined;
}

/** Values in kernel memory: themselves where they lie there, else a copy; undefined where there is no room. */
export function inKernelMemory(values: Float64Array): Float64Array | undefined {
  if (place === undefined) return undefined;
  if (values.buffer === place.buffer) return values;
  const copy = allocateResult(values.length);
  if (copy.buffer !== place.buffer) return undefined;
  copy.set(values);
  return copy;
}
