import type { GraphName, TiedHead } from "@loomweight/models";
import { type ModelDType, modelDTypes } from "@loomweight/quant";
import { unknownName } from "@loomweight/tensor";

/** A kind of weights, by transformers.js' name for it. */
export type ExportDType = ModelDType;

/** What an export dtype stands for. */
export interface ExportDTypeFacts {
  readonly description: string;
  /** dtype of the graph that is written or quantized. */
  readonly graph: "float32" | "float16";
  /** A tied head is stored again where only its quantized form is; in floats the graph shares one table. */
  readonly tiedHead: TiedHead;
  /** Query, key and value may be joined into one weight: what is coded then is what is coded of each. */
  readonly packs: boolean;
  /** Weights in blocks (MatMulNBits): fast on Node's CPU and on WebGPU, slow on WebAssembly. */
  readonly blocks: boolean;
}

const floats = { tiedHead: "shared", packs: true, blocks: false } as const;
// one scale for a whole weight: joined ones would share it
const integers = { graph: "float32", tiedHead: "separate", packs: false, blocks: false } as const;
const blocks = { tiedHead: "separate", packs: true, blocks: true } as const;

export const exportDTypes: Readonly<Record<ExportDType, ExportDTypeFacts>> = {
  fp32: { ...floats, graph: "float32", description: "float32 weights" },
  fp16: { ...floats, graph: "float16", description: "float16 weights and arithmetic" },
  q8: { ...integers, description: "8-bit weights, activations quantized while it runs: the default on WebAssembly" },
  int8: { ...integers, description: "signed 8-bit weights, activations quantized while it runs" },
  uint8: { ...integers, description: "unsigned 8-bit weights, activations quantized while it runs" },
  q4: { ...blocks, graph: "float32", description: "4-bit weights in blocks of 32, float32 arithmetic" },
  q4f16: { ...blocks, graph: "float16", description: "4-bit weights in blocks of 32, float16 arithmetic" },
  // its blocks run on from one row into the next
  bnb4: {
    ...blocks,
    packs: false,
    graph: "float32",
    description: "4-bit NF4 weights in blocks of 64, float32 arithmetic",
  },
  bf16: { ...floats, graph: "float32", description: "bfloat16 weights, cast to float32 when a session is made" },
};

/** Name of a model file inside `onnx/`: "model_q4.onnx", "encoder_model.onnx". */
export function modelFileName(dtype: ExportDType, graph: GraphName = "model"): string {
  return `${graph}${modelDTypes[dtype]}.onnx`;
}

/** The dtypes asked for, each once, in the table's order. Throws `INVALID_OPTION`. */
export function checkDTypes(dtypes: readonly string[]): ExportDType[] {
  const known = Object.keys(exportDTypes);
  for (const dtype of dtypes) {
    if (known.includes(dtype)) continue;
    throw unknownName({
      kind: "dtype",
      name: String(dtype),
      known,
      code: "INVALID_OPTION",
      option: "dtypes",
      fix: `Known are ${known.join(", ")}.`,
    });
  }
  return (known as ExportDType[]).filter((dtype) => dtypes.includes(dtype));
}
