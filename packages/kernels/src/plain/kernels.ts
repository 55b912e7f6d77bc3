import { checked } from "../checks.ts";
import { defaultBytes, type KernelOptions, memoryBytes } from "../kernel-options.ts";
import type { KernelFunctions, Kernels } from "../kernels.ts";
import { createMemory } from "../memory.ts";
import { wordsInto } from "../philox.ts";
import { load, store } from "./casts.ts";
import { elementwise } from "./elementwise.ts";
import { gemm } from "./gemm.ts";
import { reductions } from "./reduce.ts";
import { strided } from "./strided.ts";

const bernoulliMask: KernelFunctions["bernoulliMask"] = (out, key, start, probability) => {
  const threshold = Math.round(probability * 2 ** 32);
  const words = new Uint32Array(out.length);
  wordsInto(words, key, start);
  for (let i = 0; i < out.length; i++) out[i] = words[i] < threshold ? 1 : 0;
};

/** Every kernel in plain JavaScript: the reference of the WebAssembly ones, bit for bit, and the fallback. */
export function plainKernels(options: KernelOptions = {}): Kernels {
  const buffer = new ArrayBuffer(memoryBytes(options.bytes ?? defaultBytes));
  const functions = { load, store, ...elementwise, ...reductions, ...strided, gemm, bernoulliMask };
  return { engine: "plain", ...createMemory(buffer, 0), ...checked(functions, buffer) };
}
