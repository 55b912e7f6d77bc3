export { codeBytes } from "./dtypes.ts";
export { type ErrorDetails, escapeControls, LoomweightError } from "./errors.ts";
export type { KernelOptions } from "./kernel-options.ts";
export {
  type BlockCoding,
  type CodedDType,
  type KernelDType,
  type KernelFunctions,
  type KernelMemory,
  type Kernels,
  rankScratchBytes,
} from "./kernels.ts";
export { arcCosine, cosSin, cosSinTurns, exponential, logarithm } from "./math.ts";
export { plainKernels } from "./plain/kernels.ts";
export { createRandom, type Random, type RandomKey } from "./random.ts";
export { createKernels, kernelModule, wasmSupported } from "./wasm-kernels.ts";
