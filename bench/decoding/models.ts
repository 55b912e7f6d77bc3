import { mkdir, open, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createRandom } from "@loomweight/kernels";

/** Configurations of the shapes that are decoded: Qwen2-0.5B's and SmolLM-135M's. */
export const shapes = {
  "qwen2-0.5b": {
    architectures: ["Qwen2ForCausalLM"],
    model_type: "qwen2",
    vocab_size: 151936,
    hidden_size: 896,
    intermediate_size: 4864,
    num_hidden_layers: 24,
    num_attention_heads: 14,
    num_key_value_heads: 2,
    max_position_embeddings: 32768,
    rope_theta: 1e6,
    rms_norm_eps: 1e-6,
    hidden_act: "silu",
    tie_word_embeddings: true,
    use_cache: true,
    torch_dtype: "bfloat16",
    bos_token_id: 0,
    eos_token_id: 151935,
  },
  "smollm-135m": {
    architectures: ["LlamaForCausalLM"],
    model_type: "llama",
    vocab_size: 49152,
    hidden_size: 576,
    intermediate_size: 1536,
    num_hidden_layers: 30,
    num_attention_heads: 9,
    num_key_value_heads: 3,
    max_position_embeddings: 2048,
    rope_theta: 10000,
    rms_norm_eps: 1e-5,
    hidden_act: "silu",
    tie_word_embeddings: true,
    use_cache: true,
    torch_dtype: "bfloat16",
    bos_token_id: 0,
    eos_token_id: 49151,
  },
} as const;

export type ShapeName = keyof typeof shapes;

/** Writes a model of a shape with random bfloat16 weights into a new folder. */
export async function makeModel(name: ShapeName, folder: string): Promise<void> {
  const config = shapes[name];
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, "config.json"), JSON.stringify(config, undefined, 2));
  const tensors = tensorShapes(config);
  const header: Record<string, unknown> = {};
  let offset = 0;
  for (const [tensor, shape] of tensors) {
    const bytes = 2 * shape.reduce((product, size) => product * size, 1);
    header[tensor] = { dtype: "BF16", shape, data_offsets: [offset, offset + bytes] };
    offset += bytes;
  }
  const text = JSON.stringify(header);
  const padded = Buffer.from(text.padEnd(Math.ceil(text.length / 8) * 8));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(padded.length));
  const file = await open(join(folder, "model.safetensors"), "w");
  await file.write(Buffer.concat([length, padded]));
  // one block of values repeats: times do not depend on them, and half a billion draws take minutes
  const block = randomBlock();
  const ones = bfloat16(new Float32Array(config.hidden_size).fill(1));
  let at = 0;
  for (const [tensor, shape] of tensors) {
    const norm = tensor.endsWith("norm.weight");
    let left = shape.reduce((product, size) => product * size, 1);
    while (left > 0) {
      // each tensor goes on where the last one ended: exporters store equal tensors once
      const part = norm ? ones : block.subarray(at, at + left);
      await file.write(new Uint8Array(part.buffer, part.byteOffset, part.byteLength));
      left -= part.length;
      if (!norm) at = (at + part.length) % block.length;
    }
  }
  await file.close();
}

function tensorShapes(config: (typeof shapes)[ShapeName]): [string, number[]][] {
  const { hidden_size: hidden, intermediate_size: wide, vocab_size: vocabulary } = config;
  const keys = (config.num_key_value_heads * hidden) / config.num_attention_heads;
  const tensors: [string, number[]][] = [["model.embed_tokens.weight", [vocabulary, hidden]]];
  for (let layer = 0; layer < config.num_hidden_layers; layer++) {
    const prefix = `model.layers.${layer}`;
    for (const [part, out] of Object.entries({ q: hidden, k: keys, v: keys, o: hidden })) {
      tensors.push([`${prefix}.self_attn.${part}_proj.weight`, [out, hidden]]);
      if (config.model_type === "qwen2" && part !== "o") tensors.push([`${prefix}.self_attn.${part}_proj.bias`, [out]]);
    }
    tensors.push([`${prefix}.mlp.gate_proj.weight`, [wide, hidden]], [`${prefix}.mlp.up_proj.weight`, [wide, hidden]]);
    tensors.push([`${prefix}.mlp.down_proj.weight`, [hidden, wide]]);
    for (const norm of ["input_layernorm", "post_attention_layernorm"])
      tensors.push([`${prefix}.${norm}.weight`, [hidden]]);
  }
  return [...tensors, ["model.norm.weight", [hidden]]];
}

/** 2²⁰ + 7 values of deviation 0.02: a size that no row divides, so that rows differ. */
function randomBlock(): Uint16Array {
  const random = createRandom(1, "decoding");
  return bfloat16(Float32Array.from({ length: 2 ** 20 + 7 }, (_, i) => 0.07 * (random.uniform(i) - 0.5)));
}

function bfloat16(values: Float32Array): Uint16Array {
  return Uint16Array.from(new Uint32Array(values.buffer), (bits) => (bits + 0x8000) >>> 16);
}
