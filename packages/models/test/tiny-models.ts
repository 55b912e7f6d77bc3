import { type ModelFolder, openModelFromFiles, writeSafetensors } from "@loomweight/checkpoint";
import { type DType, elementCount, type Tensor, zeros } from "@loomweight/tensor";

export interface TinyModel {
  readonly config: Readonly<Record<string, unknown>>;
  readonly shapes: Readonly<Record<string, readonly number[]>>;
}

/** A two-layer Llama: its configuration and the shapes of its weights. */
export const tinyLlama: TinyModel = {
  config: {
    architectures: ["LlamaForCausalLM"],
    model_type: "llama",
    hidden_size: 8,
    intermediate_size: 12,
    num_hidden_layers: 2,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    max_position_embeddings: 32,
    vocab_size: 11,
    hidden_act: "silu",
    rms_norm_eps: 1e-5,
    rope_theta: 10000,
    tie_word_embeddings: false,
    torch_dtype: "float32",
  },
  shapes: {
    "model.embed_tokens.weight": [11, 8],
    ...layerShapes(0),
    ...layerShapes(1),
    "model.norm.weight": [8],
    "lm_head.weight": [11, 8],
  },
};

function layerShapes(layer: number): Record<string, readonly number[]> {
  const shapes = {
    "input_layernorm.weight": [8],
    "self_attn.q_proj.weight": [8, 8],
    "self_attn.k_proj.weight": [4, 8],
    "self_attn.v_proj.weight": [4, 8],
    "self_attn.o_proj.weight": [8, 8],
    "post_attention_layernorm.weight": [8],
    "mlp.gate_proj.weight": [12, 8],
    "mlp.up_proj.weight": [12, 8],
    "mlp.down_proj.weight": [8, 12],
  };
  return Object.fromEntries(Object.entries(shapes).map(([name, shape]) => [`model.layers.${layer}.${name}`, shape]));
}

/** The model in memory: every weight is 0 unless `values` fills it. */
export async function folderOf(
  { config, shapes }: TinyModel,
  options: { dtype?: DType; values?: (name: string, index: number) => number } = {},
): Promise<ModelFolder> {
  const tensors = new Map<string, Tensor>();
  for (const [name, shape] of Object.entries(shapes)) {
    const tensor = zeros(shape, options.dtype ?? "float32");
    if (options.values !== undefined) {
      const data = tensor.data as Float32Array;
      for (let i = 0; i < elementCount(shape); i++) data[i] = options.values(name, i);
    }
    tensors.set(name, tensor);
  }
  return openModelFromFiles(
    new Map([
      ["model.safetensors", writeSafetensors(tensors)],
      ["config.json", new TextEncoder().encode(JSON.stringify(config))],
    ]),
  );
}

/** The model with some fields of its configuration replaced (undefined removes one). */
export function withConfig(model: TinyModel, fields: Readonly<Record<string, unknown>>): TinyModel {
  const config = { ...model.config, ...fields };
  for (const [name, value] of Object.entries(fields)) if (value === undefined) delete config[name];
  return { ...model, config };
}

/** The model with some weights replaced, added or (undefined) removed. */
export function withShapes(
  model: TinyModel,
  changes: Readonly<Record<string, readonly number[] | undefined>>,
): TinyModel {
  const kept = Object.entries({ ...model.shapes, ...changes }).filter(([, shape]) => shape !== undefined);
  return { ...model, shapes: Object.fromEntries(kept) as TinyModel["shapes"] };
}
