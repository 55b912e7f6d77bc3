import { createKernels, type Kernels } from "@loomweight/kernels";

/** Elements that are cast at a time: values and codes stay in the cache. */
export const blockLength = 16384;

let kernels: Kernels | undefined;

/**
 * The kernels that this package casts with, made on first use: 512 KiB, one set a thread. `body` runs to its end
 * before the next one starts, so all of the memory is its own.
 */
export function withKernels<T>(body: (kernels: Kernels) => T): T {
  kernels ??= createKernels({ bytes: 32 * blockLength });
  const mark = kernels.mark();
  try {
    return body(kernels);
  } finally {
    kernels.release(mark);
  }
}
