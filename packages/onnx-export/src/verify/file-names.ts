import { modelDTypes } from "@loomweight/quant";
import type { ExportDType } from "../dtypes.ts";

/** "model_q4.onnx" → graph "model", dtype "q4"; a suffix that stands for no dtype belongs to the graph's name. */
export function graphAndDType(file: string): { graph: string; dtype: ExportDType } {
  const stem = file.replace(/\.onnx$/, "");
  for (const [dtype, suffix] of Object.entries(modelDTypes) as [ExportDType, string][]) {
    if (suffix !== "" && stem.endsWith(suffix)) return { graph: stem.slice(0, -suffix.length), dtype };
  }
  return { graph: stem, dtype: "fp32" };
}

/** Whether a file of the folder is external data of `model`, by its name: "_data" as here, ".data" as in folders of genai. */
export function isDataOf(model: string, file: string): boolean {
  return file.startsWith(`${model}_data`) || file.startsWith(`${model}.data`);
}
