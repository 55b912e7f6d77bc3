import { liftConstants, normalizeModel, type OnnxModel } from "@loomweight/graph";
import type { SharedModel } from "@loomweight/graph/node";
import { type QuantizeModelOptions, quantizeModel, type TensorReport } from "@loomweight/quant";
import type { ExportDType } from "../dtypes.ts";
import type { Clamped } from "../float16-range.ts";
import type { ExportOptions, PlannedGraph } from "../plan.ts";

/** How weights are laid into files; the same in every thread. */
export type Layout = Omit<SharedModel["options"], "fileName">;

/** What a thread that writes is told: plain data, from which it makes the same models. */
export type WriteTask =
  | { readonly kind: "export"; readonly path: string; readonly options: ExportOptions; readonly layout: Layout }
  | {
      readonly kind: "quantize";
      readonly path: string;
      readonly dtype: ExportDType;
      readonly options: Omit<QuantizeModelOptions, "onTensor">;
      readonly layout: Layout;
    };

/** What quantizing some weights did, as threads tell it. */
export interface WeightReports {
  readonly weights: readonly TensorReport[];
  readonly clamped: readonly (readonly [name: string, count: number])[];
}

export interface DrainedModel extends SharedModel {
  drain(): WeightReports;
}

/** A model file of an export. */
export function exportedModel({ model, file, weights, clamped }: PlannedGraph, layout: Layout): DrainedModel {
  return { model, options: { ...layout, fileName: file }, drain: drained(weights, clamped) };
}

/** Weights inside Constant nodes that are worth a code have this many axes. */
const weightRank = 2;

/**
 * The model with all of its weights where quantizers look for them: nodes of local functions in place of their calls
 * (such a model becomes one of opset 21, at least), and constants as initializers. fp32, a copy, leaves it as it is.
 */
export async function withPlainWeights(model: OnnxModel, dtype: ExportDType): Promise<OnnxModel> {
  if (dtype === "fp32") return model;
  const inlined = model.functions.length > 0 ? await normalizeModel(model) : model;
  const hides = inlined.graph.nodes.some(({ op, domain, attributes: { value } }) => {
    return op === "Constant" && domain === "" && value?.type === "tensor" && value.value.shape.length >= weightRank;
  });
  return hides ? { ...inlined, graph: liftConstants(inlined.graph) } : inlined;
}

/** An ONNX model quantized; accuracyLevel 4 by default, as in exports. */
export function quantizedModel(
  model: OnnxModel,
  dtype: ExportDType,
  options: Omit<QuantizeModelOptions, "onTensor">,
  layout: SharedModel["options"],
): DrainedModel {
  const weights: TensorReport[] = [];
  const onTensor = (report: TensorReport) => void weights.push(report);
  const quantized = quantizeModel(model, dtype, { accuracyLevel: 4, ...options, onTensor });
  return { model: quantized, options: layout, drain: drained(weights, new Map()) };
}

/** What has come to these lists since the last call. */
function drained(weights: readonly TensorReport[], clamped: Clamped): () => WeightReports {
  let told = 0;
  return () => {
    const fresh = weights.slice(told);
    told = weights.length;
    const counts = [...clamped];
    clamped.clear();
    return { weights: fresh, clamped: counts };
  };
}

/** The reports of all weights in their order. */
export function joinReports(reports: readonly unknown[]): WeightReports {
  const all = reports as readonly WeightReports[];
  return { weights: all.flatMap(({ weights }) => weights), clamped: all.flatMap(({ clamped }) => clamped) };
}
