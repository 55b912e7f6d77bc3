import { LoomweightError } from "./errors.ts";

/** How a kernel set is made. */
export interface KernelOptions {
  /** Bytes of memory that blocks can be allocated from; default 16 MiB, at most 3 GiB. Pages cost nothing until used. */
  readonly bytes?: number;
  /** The module of `kernelModule`, handed over from another thread; default: compiled here, once. */
  readonly module?: WebAssembly.Module;
}

export const defaultBytes = 16 * 2 ** 20;

/** `bytes` checked and rounded up to a multiple of 16. */
export function memoryBytes(bytes: number): number {
  if (!Number.isSafeInteger(bytes) || bytes < 0 || bytes > 3 * 2 ** 30) {
    throw new LoomweightError({
      code: "KERNEL_ARGUMENT",
      problem: "kernels cannot be created",
      option: "bytes",
      expected: "a whole number from 0 to 3221225472",
      found: String(bytes),
    });
  }
  return Math.ceil(bytes / 16) * 16;
}
