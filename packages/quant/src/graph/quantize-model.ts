import type { OnnxModel } from "@loomweight/graph";
import { unknownName } from "@loomweight/tensor";
import type { Bnb4Type } from "../bnb4-levels.ts";
import type { Int8Type } from "../int8.ts";
import type { OnTensor } from "../report.ts";
import { storeBfloat16 } from "./bfloat16.ts";
import { quantizeModelBnb4 } from "./bnb4.ts";
import { quantizeDynamic } from "./dynamic.ts";
import { convertToFloat16 } from "./float16.ts";
import type { BlockRule, MixedPreset } from "./mixed.ts";
import type { Selection } from "./selection.ts";
import { quantizeWeightOnly } from "./weight-only.ts";

/** Names of quantized models, as transformers.js knows them, with the suffix of the file's name. */
export const modelDTypes = {
  fp32: "",
  fp16: "_fp16",
  q8: "_quantized",
  int8: "_int8",
  uint8: "_uint8",
  q4: "_q4",
  q4f16: "_q4f16",
  bnb4: "_bnb4",
  bf16: "_bf16",
} as const;

export type ModelDType = keyof typeof modelDTypes;

export interface QuantizeModelOptions extends Selection {
  /** q4, q4f16: weights that share a scale; default 32. bnb4: default 64. */
  readonly blockSize?: number;
  /** q4, q4f16: default true. */
  readonly symmetric?: boolean;
  /** q4, q4f16: see `quantizeWeightOnly`; default 0, unset. */
  readonly accuracyLevel?: 0 | 1 | 2 | 3 | 4;
  /** q4, q4f16: products in 8 bits, by names of nodes or weights with `*`: heads, first and last layers. Default none. */
  readonly eightBits?: readonly string[];
  /** q4, q4f16: a choice of products for 8 bits: "head", "ends" or "k-mixed"; default none. */
  readonly mixed?: MixedPreset;
  /** q4, q4f16: products coded otherwise, by name; see `BlockRule`. */
  readonly rules?: readonly BlockRule[];
  /** q4: "matMulNBits" (default), or "qdq": DequantizeLinear and MatMul, standard ONNX. */
  readonly format?: "matMulNBits" | "qdq";
  /** bnb4: default "nf4". */
  readonly quantType?: Bnb4Type;
  /**
   * q4, q4f16: also code embedding tables; one that a head is tied to is stored once, for both. "tied": only such tables, as
   * onnxruntime-genai's builder does. Default false, as transformers.js' converter.
   */
  readonly embeddings?: boolean | "tied";
  /** q8, int8, uint8: one scale a column. Default false. */
  readonly perChannel?: boolean;
  /** q8, int8, uint8: 7-bit weights. Default false. */
  readonly reduceRange?: boolean;
  /** fp16, q4f16: default true. */
  readonly keepIoTypes?: boolean | readonly string[];
  readonly onTensor?: OnTensor;
}

/**
 * The model in the form that transformers.js loads under `dtype`: fp16 (float32 at the border); q8, int8, uint8
 * (dynamic; q8 takes uint8 weights where the graph has Conv, GroupQueryAttention or MultiHeadAttention, else int8);
 * q4 (MatMulNBits, symmetric, blocks of 32); q4f16 (q4, then fp16); bnb4 (NF4, blocks of 64); bf16 (weights stored in
 * bfloat16, float32 arithmetic; transformers.js has no name for it). fp32 is the model itself.
 * Nothing is read here: weights are coded one at a time when the result is written.
 * @throws `UNKNOWN_DTYPE`, `INVALID_OPTION`; when written `NON_FINITE_WEIGHT` naming the tensor
 */
export function quantizeModel(model: OnnxModel, dtype: ModelDType, options: QuantizeModelOptions = {}): OnnxModel {
  const { include, exclude, onTensor, blockSize, symmetric, accuracyLevel, embeddings, eightBits } = options;
  const { perChannel, reduceRange, keepIoTypes, mixed, rules, format, quantType } = options;
  const shared = { include, exclude, onTensor };
  const dynamic = (weightType: Int8Type) => quantizeDynamic(model, { ...shared, weightType, perChannel, reduceRange });
  switch (dtype) {
    case "fp32":
      return model;
    case "fp16":
      return convertToFloat16(model, { keepIoTypes });
    case "q8":
      return dynamic(q8WeightType(model));
    case "int8":
    case "uint8":
      return dynamic(dtype);
    case "q4":
      return quantizeWeightOnly(model, {
        ...shared,
        bits: 4,
        blockSize,
        symmetric,
        accuracyLevel,
        embeddings,
        eightBits,
        mixed,
        rules,
        format,
      });
    case "q4f16":
      return convertToFloat16(quantizeModel(model, "q4", options), { keepIoTypes });
    case "bnb4":
      return quantizeModelBnb4(model, { ...shared, quantType, blockSize });
    case "bf16":
      return storeBfloat16(model, shared);
    default:
      throw unknownName({
        kind: "dtype of a quantized model",
        name: String(dtype),
        known: Object.keys(modelDTypes),
        code: "UNKNOWN_DTYPE",
        fix: `Known are ${Object.keys(modelDTypes).join(", ")}.`,
      });
  }
}

const uint8Ops = new Set(["Conv", "GroupQueryAttention", "MultiHeadAttention"]);

/** Weight type of transformers.js' q8. */
export function q8WeightType(model: OnnxModel): Int8Type {
  return model.graph.nodes.some(({ op }) => uint8Ops.has(op)) ? "uint8" : "int8";
}
