import { writeSafetensors } from "@loomweight/checkpoint";
import { fromData, type Tensor } from "@loomweight/tensor";

export const llamaConfig = {
  architectures: ["LlamaForCausalLM"],
  model_type: "llama",
  hidden_size: 32,
  intermediate_size: 64,
  num_hidden_layers: 1,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  vocab_size: 40,
  rope_theta: 10000,
  tie_word_embeddings: true,
  bos_token_id: 1,
  eos_token_id: [2, 3],
};

export const llamaShapes = {
  "model.embed_tokens.weight": [40, 32],
  "model.layers.0.input_layernorm.weight": [32],
  "model.layers.0.self_attn.q_proj.weight": [32, 32],
  "model.layers.0.self_attn.k_proj.weight": [16, 32],
  "model.layers.0.self_attn.v_proj.weight": [16, 32],
  "model.layers.0.self_attn.o_proj.weight": [32, 32],
  "model.layers.0.post_attention_layernorm.weight": [32],
  "model.layers.0.mlp.gate_proj.weight": [64, 32],
  "model.layers.0.mlp.up_proj.weight": [64, 32],
  "model.layers.0.mlp.down_proj.weight": [32, 64],
  "model.norm.weight": [32],
};

export interface LlamaChanges {
  readonly config?: Readonly<Record<string, unknown>>;
  /** Tensor that holds a NaN. */
  readonly nan?: string;
  /** Tensors that hold values beyond float16's range. */
  readonly large?: readonly string[];
}

/** The folder of a small Llama with a fixed pattern of weights, and whatever other files. */
export function tinyLlamaFiles(
  files: Readonly<Record<string, unknown>> = {},
  changed: LlamaChanges = {},
): Map<string, Uint8Array> {
  const tensors = new Map<string, Tensor>();
  let seed = 1;
  for (const [name, shape] of Object.entries(llamaShapes)) {
    const count = shape.reduce((product, size) => product * size, 1);
    const data = Float32Array.from({ length: count }, () => {
      seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
      return shape.length === 1 ? 1 : (seed / 2 ** 32 - 0.5) / 2;
    });
    if (name === changed.nan) data[0] = Number.NaN;
    if (changed.large?.includes(name)) data.set([1e6, -1e5], 1);
    tensors.set(name, fromData("float32", data, shape));
  }
  const text = (value: unknown) => new TextEncoder().encode(typeof value === "string" ? value : JSON.stringify(value));
  return new Map([
    ["model.safetensors", writeSafetensors(tensors)],
    ["config.json", text({ ...llamaConfig, ...changed.config })],
    ...Object.entries(files).map(([name, value]) => [name, text(value)] as const),
  ]);
}
