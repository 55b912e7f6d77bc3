import { type Device, hasKernel, honoursInput } from "@loomweight/graph";
import { unknownName } from "@loomweight/tensor";
import type { ComputeDType } from "./weights.ts";

/**
 * Which operators a graph is built from. "none": standard ONNX only, runs anywhere. "onnxruntime": also the fused
 * operators of onnxruntime that all devices asked for have.
 */
export type Fuse = "none" | "onnxruntime";

/** onnxruntime's operators that graphs are fused into, and forms of them that not every kernel computes. */
export type FusedOp =
  | "GroupQueryAttention"
  /** It turns queries and keys itself, by positions that it is given, in a batch of one row. */
  | "GroupQueryAttention position_ids"
  | "FusedMatMul"
  | "MultiHeadAttention"
  | "RotaryEmbedding"
  | "SkipSimplifiedLayerNormalization";

const fusedOps: readonly FusedOp[] = [
  "GroupQueryAttention",
  "GroupQueryAttention position_ids",
  "FusedMatMul",
  "MultiHeadAttention",
  "RotaryEmbedding",
  "SkipSimplifiedLayerNormalization",
];

/** Where a graph may run; "wasm" is onnxruntime-web's CPU. */
export const devices: readonly Device[] = ["cpu", "wasm", "webgpu", "cuda"];

/** Where graphs run unless devices are named: everywhere but on CUDA, which nobody tested. */
export const defaultDevices: readonly Device[] = ["cpu", "wasm", "webgpu"];

/** The devices named, each once, in the order of `devices`. Throws `INVALID_OPTION` for an unknown name or none. */
export function checkDevices(names: readonly string[]): Device[] {
  const unknown = names.length === 0 ? "" : names.find((name) => !(devices as readonly string[]).includes(name));
  if (unknown !== undefined) {
    throw unknownName({
      kind: "device",
      name: unknown,
      known: devices,
      code: "INVALID_OPTION",
      option: "device",
      fix: `Known are ${devices.join(", ")}.`,
    });
  }
  return devices.filter((device) => names.includes(device));
}

/** What may be fused: operators of which every one of the devices has a kernel in all forms that graphs use. */
export function fusedFor(fuse: Fuse, on: readonly Device[], dtype: ComputeDType): ReadonlySet<FusedOp> {
  if (fuse === "none") return new Set();
  const options = { domain: "com.microsoft", dtype };
  const has = (device: Device, fused: FusedOp) => {
    const [op, input] = fused.split(" ");
    return hasKernel(device, op, options) && (input === undefined || honoursInput(device, op, input));
  };
  return new Set(fusedOps.filter((op) => on.every((device) => has(device, op))));
}
