import { checked } from "../checks.ts";
import { defaultBytes, type KernelOptions, memoryBytes } from "../kernel-options.ts";
import type { Kernels } from "../kernels.ts";
import { createMemory } from "../memory.ts";
import { load, store } from "./casts.ts";
import { consensus } from "./consensus.ts";
import { elementwise } from "./elementwise.ts";
import { gemm } from "./gemm.ts";
import { quantize } from "./quantize.ts";
import { quantizeBytes } from "./quantize-bytes.ts";
import { random } from "./random.ts";
import { reductions } from "./reduce.ts";
import { strided } from "./strided.ts";

/** Every kernel in plain JavaScript: the reference of the WebAssembly ones, bit for bit, and the fallback. */
export function plainKernels(options: KernelOptions = {}): Kernels {
  const buffer = new ArrayBuffer(memoryBytes(options.bytes ?? defaultBytes));
  const functions = {
    load,
    store,
    ...elementwise,
    ...consensus,
    ...reductions,
    ...strided,
    gemm,
    ...quantize,
    ...quantizeBytes,
    ...random,
  };
  return { engine: "plain", ...createMemory(buffer, 0), ...checked(functions, buffer) };
}
