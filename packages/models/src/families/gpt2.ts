import { add, split, type Value } from "@loomweight/graph";
import { readActivation } from "../components/activation.ts";
import { type Attended, attendCached, splitHeads } from "../components/attention.ts";
import { type CausalDecoderConfig, causalDecoder, type DecoderLayer } from "../components/causal-decoder.ts";
import { embedding } from "../components/embeddings.ts";
import { linearStoredTransposed } from "../components/linear.ts";
import { inside, type Module } from "../components/module.ts";
import { layerNorm } from "../components/norms.ts";
import { defineFamily } from "../family.ts";

interface Gpt2Config extends CausalDecoderConfig {
  readonly intermediateSize: number;
  readonly heads: number;
  readonly positions: number;
  readonly activation: (x: Value) => Value;
  readonly epsilon: number;
  /** What the scores of a layer are multiplied by. */
  readonly scale: (layer: number) => number;
}

const wordEmbeddings = "transformer.wte.weight";

/**
 * GPT-2: pre-norm decoder with learned positions and a tied head; weights are stored [in, out], and `c_attn` holds queries,
 * keys and values beside each other.
 * Source: Radford et al. 2019, "Language models are unsupervised multitask learners".
 */
export const gpt2 = defineFamily<Gpt2Config>({
  name: "gpt2",
  source: "github.com/openai/gpt-2",
  modelTypes: ["gpt2"],
  architectures: { GPT2LMHeadModel: "text-generation", GPT2Model: "feature-extraction" },
  tasks: ["text-generation", "feature-extraction"],
  basePrefix: "transformer.",
  unneeded: [/attn\.(bias|masked_bias)$/],

  readConfig(config) {
    const hiddenSize = config.size("n_embd", { default: 768 });
    const heads = config.size("n_head", { default: 12, max: 65536 });
    if (hiddenSize % heads !== 0) throw config.refuse("n_head", `a divisor of n_embd (${hiddenSize})`);
    const headDim = hiddenSize / heads;
    const scaled = config.flag("scale_attn_weights", true);
    const byLayer = config.flag("scale_attn_by_inverse_layer_idx", false);
    config.only("add_cross_attention", [false], "GPT-2 as the decoder of another model is not built");
    // how scores are summed in half precision, a name of n_positions, and the head of a double-headed class
    for (const field of ["reorder_and_upcast_attn", "n_ctx", "summary_type", "summary_use_proj"]) config.value(field);
    for (const field of ["summary_activation", "summary_proj_to_labels", "summary_first_dropout"]) config.value(field);
    return {
      vocabSize: config.size("vocab_size", { default: 50257 }),
      hiddenSize,
      intermediateSize: config.size("n_inner", { default: 4 * hiddenSize }),
      layers: config.size("n_layer", { default: 12, max: 10000 }),
      heads,
      kvHeads: heads,
      headDim,
      positions: config.size("n_positions", { default: 1024 }),
      activation: readActivation(config, "activation_function", "gelu_new"),
      epsilon: config.number("layer_norm_epsilon", { default: 1e-5 }),
      scale: (layer) => (scaled ? 1 / Math.sqrt(headDim) : 1) / (byLayer ? layer + 1 : 1),
      tied: config.flag("tie_word_embeddings", true),
      windows: [],
    };
  },

  headNames: ({ tied }, task) =>
    task === "text-generation" ? { head: "lm_head", embedding: wordEmbeddings, tied } : undefined,

  build(options) {
    const { config } = options;
    const { vocabSize, hiddenSize, positions, epsilon } = config;
    return causalDecoder(options, {
      base: "transformer",
      layers: "h",
      embed: (base, { inputIds, positionIds }) =>
        add(
          embedding(base, "wte", inputIds, [vocabSize, hiddenSize]),
          embedding(base, "wpe", positionIds, [positions, hiddenSize]),
        ),
      block: (module, x, place) => block(module, x, place, config),
      norm: (base, x) => layerNorm(base, "ln_f", x, { size: hiddenSize, epsilon }),
      head: { name: "lm_head", embedding: wordEmbeddings },
    });
  },
});

/** x + attention(norm(x)), then x + mlp(norm(x)) */
function block(module: Module, x: Value, place: DecoderLayer, config: Gpt2Config): Attended {
  const norm = { size: config.hiddenSize, epsilon: config.epsilon };
  const normed = layerNorm(module, "ln_1", x, norm);
  const { output, present } = inside(module, "attn", (self) => attention(self, normed, place, config));
  const middle = add(output, x);
  const normedMiddle = layerNorm(module, "ln_2", middle, norm);
  const widened = inside(module, "mlp", (mlp) => {
    const { hiddenSize, intermediateSize, activation } = config;
    const widen = { inFeatures: hiddenSize, outFeatures: intermediateSize, bias: true };
    const wide = activation(linearStoredTransposed(mlp, "c_fc", normedMiddle, widen));
    const narrow = { inFeatures: intermediateSize, outFeatures: hiddenSize, bias: true };
    return linearStoredTransposed(mlp, "c_proj", wide, narrow);
  });
  return { output: add(middle, widened), present };
}

function attention(self: Module, x: Value, { layer, decoder }: DecoderLayer, config: Gpt2Config): Attended {
  const { hiddenSize, heads, headDim, scale } = config;
  const shape = { inFeatures: hiddenSize, outFeatures: 3 * hiddenSize, bias: true };
  const [query, key, value] = split(linearStoredTransposed(self, "c_attn", x, shape), 3, -1).map((part) =>
    splitHeads(part, heads, headDim),
  );
  const options = { ...config, layer, scale: scale(layer) };
  const { output: mixed, present } = attendCached(self, { query, key, value }, decoder, options);
  const square = { inFeatures: hiddenSize, outFeatures: hiddenSize, bias: true };
  return { output: linearStoredTransposed(self, "c_proj", mixed, square), present };
}
