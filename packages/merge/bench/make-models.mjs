// Makes models of Qwen2-0.5B's shape with random bfloat16 weights: a base and fine-tunes of it (noise 2e-3).
// usage: node make-models.mjs FOLDER [--layers 24] [--models 2]
// FOLDER/base, FOLDER/tuned-1, FOLDER/tuned-2, … each 0.99 GB.
import { closeSync, mkdirSync, openSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { layers: { type: "string", default: "24" }, models: { type: "string", default: "2" } },
});
const [folder] = positionals;
if (folder === undefined) {
  console.error("usage: node make-models.mjs FOLDER [--layers 24] [--models 2]");
  process.exit(2);
}
const hidden = 896;
const intermediate = 4864;
const keyValue = 128;
const vocabulary = 151936;
const layers = Number(values.layers);

const config = {
  architectures: ["Qwen2ForCausalLM"],
  attention_dropout: 0,
  bos_token_id: 151643,
  dtype: "bfloat16",
  eos_token_id: 151645,
  hidden_act: "silu",
  hidden_size: hidden,
  initializer_range: 0.02,
  intermediate_size: intermediate,
  max_position_embeddings: 32768,
  model_type: "qwen2",
  num_attention_heads: 14,
  num_hidden_layers: layers,
  num_key_value_heads: 2,
  rms_norm_eps: 1e-6,
  rope_theta: 1000000,
  tie_word_embeddings: true,
  use_cache: true,
  vocab_size: vocabulary,
};

const shapes = [["model.embed_tokens.weight", [vocabulary, hidden]]];
for (let layer = 0; layer < layers; layer++) {
  const name = (part) => `model.layers.${layer}.${part}`;
  shapes.push(
    [name("input_layernorm.weight"), [hidden]],
    [name("mlp.down_proj.weight"), [hidden, intermediate]],
    [name("mlp.gate_proj.weight"), [intermediate, hidden]],
    [name("mlp.up_proj.weight"), [intermediate, hidden]],
    [name("post_attention_layernorm.weight"), [hidden]],
    [name("self_attn.k_proj.bias"), [keyValue]],
    [name("self_attn.k_proj.weight"), [keyValue, hidden]],
    [name("self_attn.o_proj.weight"), [hidden, hidden]],
    [name("self_attn.q_proj.bias"), [hidden]],
    [name("self_attn.q_proj.weight"), [hidden, hidden]],
    [name("self_attn.v_proj.bias"), [keyValue]],
    [name("self_attn.v_proj.weight"), [keyValue, hidden]],
  );
}
shapes.push(["model.norm.weight", [hidden]]);
shapes.sort(([a], [b]) => (a < b ? -1 : 1));

/** xorshift32: fast, and good enough for weights that only have to look random. */
function randomStream(seed) {
  let state = seed;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state;
  };
}

const unit = 1 / 2 ** 31;
const word = new Uint32Array(1);
const float = new Float32Array(word.buffer);
function bfloat16(value) {
  float[0] = value;
  return (word[0] + 0x7fff + ((word[0] >>> 16) & 1)) >>> 16;
}

function writeModel(path, noise) {
  mkdirSync(path, { recursive: true });
  writeFileSync(join(path, "config.json"), `${JSON.stringify(config, undefined, 2)}\n`);
  const header = { __metadata__: { format: "pt" } };
  let offset = 0;
  for (const [name, shape] of shapes) {
    const bytes = shape.reduce((product, size) => product * size, 2);
    header[name] = { dtype: "BF16", shape, data_offsets: [offset, offset + bytes] };
    offset += bytes;
  }
  let text = JSON.stringify(header);
  text += " ".repeat((8 - (text.length % 8)) % 8);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  const file = openSync(join(path, "model.safetensors"), "w");
  writeSync(file, length);
  writeSync(file, text);
  // The weights of the base are drawn from one stream, the noise of each fine-tune from another.
  const base = randomStream(1);
  const own = randomStream(noise + 2);
  for (const [name, shape] of shapes) {
    let left = shape.reduce((product, size) => product * size, 1);
    const isNorm = name.endsWith("norm.weight");
    while (left > 0) {
      const codes = new Uint16Array(Math.min(left, 1 << 20));
      for (let i = 0; i < codes.length; i++) {
        // A sum of two uniform numbers: a triangle of standard deviation 0.02.
        let value = (base() + base()) * unit * 0.0245 + (isNorm ? 1 : 0);
        if (noise > 0) value += (own() + own()) * unit * 0.00245;
        codes[i] = bfloat16(value);
      }
      writeSync(file, codes);
      left -= codes.length;
    }
  }
  closeSync(file);
}

for (let model = 0; model <= Number(values.models); model++) {
  writeModel(join(folder, model === 0 ? "base" : `tuned-${model}`), model);
}
