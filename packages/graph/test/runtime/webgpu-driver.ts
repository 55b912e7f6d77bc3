import { existsSync } from "node:fs";

/** Where Debian's Chromium keeps its software Vulkan driver. */
const driver = "/usr/lib/chromium/vk_swiftshader_icd.json";

/** Environment in which onnxruntime-node's WebGPU provider runs without a GPU; undefined where there is no driver. */
export function webgpuEnvironment(): Record<string, string> | undefined {
  const given = process.env.VK_ICD_FILENAMES;
  const path = given !== undefined && existsSync(given) ? given : driver;
  if (!existsSync(path)) return undefined;
  return { VK_ICD_FILENAMES: path, XDG_RUNTIME_DIR: process.env.XDG_RUNTIME_DIR ?? "/tmp" };
}
