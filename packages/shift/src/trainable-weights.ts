import { isFloat, LoomweightError } from "@loomweight/tensor";
import type { GraphClassifier } from "./graph-classifier.ts";

/**
 * Weights that a method trains. Without `chosen`: those whose own name, the last part of the path, is `weight` or
 * `bias`, or was made up by an exporter ("onnx::MatMul_12"); where none is, all. Recorded statistics of batch
 * normalizations never are. Throws `INVALID_OPTION` where nothing is left.
 */
export function trainableWeights(model: GraphClassifier, chosen?: (name: string) => boolean): string[] {
  const statistics = new Set(model.norms.flatMap(({ mean, variance }) => [mean, variance]));
  const all = [...model.parameters]
    .filter(([name, { dtype }]) => isFloat(dtype) && !statistics.has(name))
    .map(([name]) => name);
  const byName = all.filter((name) => chosen?.(name) ?? /(^|[./])(weight|bias)$|^onnx::/.test(name));
  const names = byName.length > 0 || chosen !== undefined ? byName : all;
  if (names.length > 0) return names;
  throw new LoomweightError({
    code: "INVALID_OPTION",
    option: "trainable",
    problem: "no weight is to be trained",
    expected: `some of ${all.length} weights`,
    found: all.slice(0, 5).join(", "),
  });
}
