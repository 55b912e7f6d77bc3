import { contrib, type NamedRule, type OpTable } from "../op.ts";
import { activationOps } from "./activations.ts";
import { attentionOps } from "./attention.ts";
import { bitOps } from "./bits.ts";
import { convolutionOps } from "./convolution.ts";
import { einsumOps } from "./einsum.ts";
import { binaryOps, unaryOps } from "./elementwise.ts";
import { generateOps } from "./generate.ts";
import { groupNormalizeOps } from "./group-normalize.ts";
import { indexingOps } from "./indexing.ts";
import { logicOps } from "./logic.ts";
import { lossOps } from "./losses.ts";
import { matmulOps } from "./matmul.ts";
import { normalizeOps } from "./normalize.ts";
import { machineLearningOps, previewOps, trainingOps } from "./other-domains.ts";
import { contribQuantizedOps, quantizedOps } from "./quantized.ts";
import { quantizedProductOps } from "./quantized-products.ts";
import { randomOps } from "./random.ts";
import { rearrangeOps } from "./rearrange.ts";
import { recurrentOps } from "./recurrent.ts";
import { reduceOps } from "./reduce.ts";
import { scaledAttentionOps, standardRotaryOps } from "./scaled-attention.ts";
import { scatterOps } from "./scatter.ts";
import { selectionOps } from "./selection.ts";
import { shapeOps } from "./shape.ts";
import { signalOps } from "./signal.ts";
import { sumOps } from "./sums.ts";
import { textOps } from "./text.ts";
import { visionOps } from "./vision.ts";

/** Every op that is known, by domain; for imported graphs, whose ops are names. */
export function opTables(): Readonly<Record<string, OpTable>> {
  return {
    "": {
      ...binaryOps,
      ...unaryOps,
      ...activationOps,
      ...sumOps,
      ...logicOps,
      ...shapeOps,
      ...indexingOps,
      ...scatterOps,
      ...generateOps,
      ...reduceOps,
      ...matmulOps,
      ...normalizeOps,
      ...groupNormalizeOps,
      ...lossOps,
      ...recurrentOps,
      ...scaledAttentionOps,
      ...standardRotaryOps,
      ...einsumOps,
      ...rearrangeOps,
      ...convolutionOps,
      ...quantizedOps,
      ...bitOps,
      ...randomOps,
      ...selectionOps,
      ...signalOps,
      ...textOps,
      ...visionOps,
      ...quantizedProductOps,
    },
    "ai.onnx.ml": machineLearningOps,
    "ai.onnx.preview": previewOps,
    "ai.onnx.preview.training": trainingOps,
    [contrib]: { ...attentionOps, ...contribQuantizedOps },
  };
}

/** Rule of an op, or undefined: it is opaque, kept as it is. */
export function findRule(tables: Readonly<Record<string, OpTable>>, domain: string, op: string): NamedRule | undefined {
  const name = domain === "ai.onnx" ? "" : domain;
  const table = Object.hasOwn(tables, name) ? tables[name] : undefined;
  return table !== undefined && Object.hasOwn(table, op) ? { ...table[op], op, domain: name } : undefined;
}
