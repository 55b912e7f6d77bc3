import { throughParts } from "../gradient/by-parts.ts";
import { defineGradients } from "../gradient/rule.ts";
import {
  attentionByParts,
  biasGeluByParts,
  contribRotaryByParts,
  fastGeluByParts,
  fusedMatMulByParts,
  groupQueryByParts,
  multiHeadByParts,
  quickGeluByParts,
  rotaryByParts,
  skipLayerNormByParts,
  skipSimplifiedByParts,
} from "../ops/attention-parts.ts";

/** ONNX's own attention and rotary embedding. */
export const scaledAttentionGradients = /* @__PURE__ */ defineGradients({
  Attention: throughParts(attentionByParts),
  RotaryEmbedding: throughParts(rotaryByParts),
});

/** onnxruntime's fused operators, domain com.microsoft. */
export const attentionGradients = /* @__PURE__ */ defineGradients({
  QuickGelu: throughParts(quickGeluByParts),
  FastGelu: throughParts(fastGeluByParts),
  BiasGelu: throughParts(biasGeluByParts),
  SkipLayerNormalization: throughParts(skipLayerNormByParts),
  SkipSimplifiedLayerNormalization: throughParts(skipSimplifiedByParts),
  RotaryEmbedding: throughParts(contribRotaryByParts),
  MultiHeadAttention: throughParts(multiHeadByParts),
  GroupQueryAttention: throughParts(groupQueryByParts),
  FusedMatMul: throughParts(fusedMatMulByParts),
});
