import { unknownName } from "@loomweight/tensor";

/** Which runtime an export's folder is laid out for. */
export type ExportTarget = keyof typeof exportTargets;

/** The targets and what their folders are. */
export const exportTargets = {
  "transformers.js": "onnx/model*.onnx, one for each dtype, with what transformers.js reads beside them",
  genai: "model.onnx in one dtype and genai_config.json, as onnxruntime-genai loads them",
} as const;

/** A target's name. Throws `INVALID_OPTION`. */
export function checkTarget(target: string): ExportTarget {
  if (Object.hasOwn(exportTargets, target)) return target as ExportTarget;
  const known = Object.keys(exportTargets);
  throw unknownName({
    kind: "target",
    name: target,
    known,
    code: "INVALID_OPTION",
    option: "target",
    fix: `Known are ${known.join(" and ")}.`,
  });
}
