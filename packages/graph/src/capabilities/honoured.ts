import type { Device } from "./capabilities.ts";

/**
 * Inputs that some kernels of an operator take and do not read, and the devices whose kernels do read them, as measured with
 * onnxruntime 1.30 (CUDA's was not run). GroupQueryAttention on WebGPU counts positions from the lengths, whatever its
 * position_ids say; on CPUs it reads them for a batch of one row, and counts on from the very first one for all rows of a
 * prompt without a past.
 */
const honoured: Readonly<Record<string, readonly Device[]>> = {
  "GroupQueryAttention position_ids": ["cpu", "wasm"],
};

/** Whether a device's kernel of an operator reads an input of it; true for inputs that nothing is known against. */
export function honoursInput(device: Device, op: string, input: string): boolean {
  const key = `${op} ${input}`;
  return !Object.hasOwn(honoured, key) || honoured[key].includes(device);
}
