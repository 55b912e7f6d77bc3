import type { OnnxModel } from "@loomweight/graph";
import type { ExportDType } from "../dtypes.ts";

/** Operators that tell a kind of weights, in the order in which they are looked for. */
const byOperator: readonly (readonly [op: string, dtype: ExportDType])[] = [
  ["MatMulBnb4", "bnb4"],
  ["MatMulNBits", "q4"],
  ["DynamicQuantizeLinear", "q8"],
  ["MatMulInteger", "q8"],
  ["DequantizeLinear", "q8"],
];

/**
 * The kind of weights that a file's name promises; where the name promises float32, what its graph holds: other tools name
 * every file model.onnx.
 */
export function weightsDType({ graph }: OnnxModel, named: ExportDType): ExportDType {
  if (named !== "fp32") return named;
  const ops = new Set(graph.nodes.map(({ op }) => op));
  const found = byOperator.find(([op]) => ops.has(op));
  const weights = [...graph.initializers.values()].filter(({ shape }) => shape.length > 1);
  const half = weights.filter(({ dtype }) => dtype === "float16" || dtype === "bfloat16").length;
  if (found === undefined) return half * 2 > weights.length ? "fp16" : "fp32";
  const [op, dtype] = found;
  if (op !== "MatMulNBits") return dtype;
  const eight = graph.nodes.every(({ op: each, attributes }) => each !== op || attributes.bits?.value === 8n);
  if (eight) return "q8";
  return half > 0 ? "q4f16" : "q4";
}
