import { createKernels, type Kernels } from "@loomweight/kernels";
import { LoomweightError } from "@loomweight/tensor";

/** A kernel set that large is kept for later calls; larger ones go when their call ends. */
const keptBytes = 128 * 2 ** 20;

const leastBytes = 8 * 2 ** 20;

/** Most that WebAssembly memory is created with here. */
const mostBytes = 3 * 2 ** 30;

interface Kept {
  readonly kernels: Kernels;
  readonly base: number;
}

// Functions here are synchronous, so a set is a stack: nested work takes its blocks on top and releases them, or another
// set where there is no room.
const kept: Kept[] = [];

/** Runs `work` with room for `count` float64 values in kernel memory. Throws `MATRIX_TOO_LARGE` beyond 3 GiB. */
export function withWorkspace<T>(name: string, count: number, work: (kernels: Kernels) => T): T {
  const bytes = 8 * count + 65536; // blocks are aligned
  if (bytes > mostBytes) {
    throw new LoomweightError({
      code: "MATRIX_TOO_LARGE",
      problem: `${name}: the matrix does not fit into WebAssembly memory`,
      expected: `at most ${mostBytes} bytes at work`,
      found: `${bytes}`,
      fix: "Take a low-rank approximation (randomizedSvd), or split the matrix.",
    });
  }
  const kernels = kernelsFor(bytes);
  const mark = kernels.mark();
  try {
    return work(kernels);
  } finally {
    kernels.release(mark);
  }
}

function kernelsFor(bytes: number): Kernels {
  const used = ({ kernels, base }: Kept) => kernels.mark() - base;
  const found = kept.find((each) => each.kernels.capacity - used(each) >= bytes);
  if (found !== undefined) return found.kernels;
  const kernels = createKernels({ bytes: Math.max(bytes, leastBytes) });
  if (bytes <= keptBytes) {
    const busy = kept.filter((each) => used(each) > 0); // idle ones are smaller than the new one
    kept.splice(0, kept.length, ...busy, { kernels, base: kernels.mark() });
  }
  return kernels;
}

/** A block of kernel memory with whatever content. */
export function unset(kernels: Kernels, count: number): Float64Array<ArrayBuffer> {
  const bytes = kernels.allocateUnset(8 * count);
  return new Float64Array(bytes.buffer, bytes.byteOffset, count);
}
