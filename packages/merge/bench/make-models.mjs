// Makes models of a Qwen2 shape with random bfloat16 weights: a base and fine-tunes of it (noise of deviation 1e-3).
// usage: node make-models.mjs FOLDER [--shape 0.5b|3b|tiny] [--layers N] [--models 2] [--filled 1]
// FOLDER/base, FOLDER/tuned-1, FOLDER/tuned-2, …: 0.99 GB each (3b: 6.2 GB, tiny: 66 MB). With --filled 0.2 only the
// first fifth of every stretch of 8 MB is written and the rest is a hole, which reads as zeros and takes no room.
import { closeSync, ftruncateSync, mkdirSync, openSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";

const shapeFacts = {
  "0.5b": { hidden: 896, intermediate: 4864, heads: 14, keyValueHeads: 2, vocabulary: 151936, layers: 24 },
  "3b": { hidden: 2048, intermediate: 11008, heads: 16, keyValueHeads: 2, vocabulary: 151936, layers: 36 },
  tiny: { hidden: 896, intermediate: 4864, heads: 14, keyValueHeads: 2, vocabulary: 20000, layers: 1 },
};
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    shape: { type: "string", default: "0.5b" },
    layers: { type: "string" },
    models: { type: "string", default: "2" },
    filled: { type: "string", default: "1" },
  },
});
const [folder] = positionals;
const facts = shapeFacts[values.shape];
const filled = Number(values.filled);
if (folder === undefined || facts === undefined || !(filled > 0 && filled <= 1)) {
  console.error(
    `usage: node make-models.mjs FOLDER [--shape ${Object.keys(shapeFacts).join("|")}] [--layers N] [--models 2] [--filled 1]`,
  );
  process.exit(2);
}
const { hidden, intermediate, heads, keyValueHeads, vocabulary } = facts;
const layers = Number(values.layers ?? facts.layers);
const keyValue = (hidden / heads) * keyValueHeads;

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
  num_attention_heads: heads,
  num_hidden_layers: layers,
  num_key_value_heads: keyValueHeads,
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

/** Codes of weights around `mean`, and of a model's noise upon them: a stretch that tensors take their weights from. */
const stretch = 2 ** 22;
function codesOf(model, mean) {
  const base = randomStream(1);
  const own = randomStream(model + 2);
  return Uint16Array.from({ length: stretch }, () => {
    // A sum of two uniform numbers: a triangle of standard deviation 0.02.
    let value = (base() + base()) * unit * 0.0245 + mean;
    if (model > 0) value += (own() + own()) * unit * 0.00245;
    return bfloat16(value);
  });
}

function writeModel(path, model) {
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
  const weights = codesOf(model, 0);
  const norms = codesOf(model, 1);
  // Every tensor begins elsewhere in the stretch, every model at the same place.
  const place = randomStream(7);
  let position = 8 + text.length;
  for (const [name, shape] of shapes) {
    const codes = name.endsWith("norm.weight") ? norms : weights;
    let left = shape.reduce((product, size) => product * size, 1);
    let at = (place() >>> 0) % (stretch / 2);
    while (left > 0) {
      const count = Math.min(left, stretch - at);
      const written = Math.min(count, Math.ceil(stretch * filled));
      writeSync(file, codes, 2 * at, 2 * written, position);
      position += 2 * count;
      left -= count;
      at = 0;
    }
  }
  ftruncateSync(file, position);
  closeSync(file);
}

for (let model = 0; model <= Number(values.models); model++) {
  writeModel(join(folder, model === 0 ? "base" : `tuned-${model}`), model);
}
