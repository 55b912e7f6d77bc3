import type { DType } from "@loomweight/tensor";
import { cudaKernels } from "./documented.ts";
import { capabilities } from "./generated.ts";

/** Execution providers of onnxruntime that were probed: "wasm" is onnxruntime-web's. */
export type Provider = "cpu" | "wasm" | "webgpu";

/**
 * Domain → op → provider → dtypes of the operands that may be floats (of the first operand where none may), "~" after
 * one that only some forms of the op have.
 */
export type CapabilityTable = Readonly<Record<string, Readonly<Record<string, Readonly<Record<Provider, string>>>>>>;

export interface ProvidersOptions {
  /** Domain of the op; default "", the standard one. */
  readonly domain?: string;
  /** dtype of the operands that may be floats, else of the first one; default float32. */
  readonly dtype?: DType;
  /** Providers count that have some forms of the op only. Default false. */
  readonly partly?: boolean;
}

const providers: readonly Provider[] = ["cpu", "wasm", "webgpu"];

/**
 * Execution providers with a kernel of their own for an op, as measured by running its samples with the fallback to
 * the CPU off; undefined for an op that was not probed. WebGPU was probed in float32 and whole numbers: float16 needs
 * a device that has it, and is listed for no op.
 */
export function providersOf(op: string, options: ProvidersOptions = {}): readonly Provider[] | undefined {
  const { domain = "", dtype = "float32", partly = false } = options;
  const table = Object.hasOwn(capabilities, domain) ? capabilities[domain] : {};
  if (!Object.hasOwn(table, op)) return undefined;
  const row = table[op];
  return providers.filter((provider) => {
    const dtypes = row[provider].split(" ");
    return dtypes.includes(dtype) || (partly && dtypes.includes(`${dtype}~`));
  });
}

/** Where a graph may run: what was probed, and CUDA, which is known from onnxruntime's own list only. */
export type Device = Provider | "cuda";

/**
 * Whether a device has a kernel for an op: for all of its forms, unless `partly`. WebGPU was probed in float32 and is taken to have the
 * same kernels in float16, as onnxruntime's list says of all of them; it needs an adapter with shader-f16.
 */
export function hasKernel(device: Device, op: string, options: ProvidersOptions = {}): boolean {
  const { domain = "", dtype = "float32", partly = false } = options;
  if (device === "cuda") {
    const table = Object.hasOwn(cudaKernels, domain) ? cudaKernels[domain] : {};
    const dtypes = (Object.hasOwn(table, op) ? table[op] : "").split(" ");
    return dtypes.includes(dtype) || (partly && dtypes.includes(`${dtype}~`));
  }
  const probed = device === "webgpu" && dtype === "float16" ? "float32" : dtype;
  return providersOf(op, { domain, dtype: probed, partly })?.includes(device) === true;
}
