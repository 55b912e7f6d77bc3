import { createKernels, type Kernels } from "@loomweight/kernels";
import { LoomweightError } from "@loomweight/tensor";

/** A kernel set that large is kept for later calls; larger ones go when their call ends. */
const keptBytes = 128 * 2 ** 20;

/** Most that WebAssembly memory is created with here. */
const mostBytes = 3 * 2 ** 30;

interface Kept {
  readonly kernels: Kernels;
  readonly base: number;
}

// Functions here are synchronous, so the set is a stack: nested work takes its blocks on top and releases them.
let kept: Kept | undefined;

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
  if (kept !== undefined) {
    const used = kept.kernels.mark() - kept.base;
    if (kept.kernels.capacity - used >= bytes) return kept.kernels;
    if (used > 0) return createKernels({ bytes }); // nested work that does not fit beside the outer one
  }
  if (bytes > keptBytes) return createKernels({ bytes });
  const kernels = createKernels({ bytes: Math.max(bytes, 8 * 2 ** 20) });
  kept = { kernels, base: kernels.mark() };
  return kernels;
}

/** A block of kernel memory with whatever content. */
export function unset(kernels: Kernels, count: number): Float64Array<ArrayBuffer> {
  const bytes = kernels.allocateUnset(8 * count);
  return new Float64Array(bytes.buffer, bytes.byteOffset, count);
}
