import { add, gather, reshape, type Value } from "@loomweight/graph";
import { readActivation } from "../components/activation.ts";
import { type Attended, attendCached } from "../components/attention.ts";
import { type CausalDecoderConfig, causalDecoder, type DecoderLayer } from "../components/causal-decoder.ts";
import { embedding } from "../components/embeddings.ts";
import { linear } from "../components/linear.ts";
import { plainMlp } from "../components/mlp.ts";
import { inside, type Module } from "../components/module.ts";
import { layerNorm } from "../components/norms.ts";
import { rotate } from "../components/rope.ts";
import { type Rope, readRope } from "../components/rope-config.ts";
import { type DecoderSizes, readDecoderSizes } from "../decoder-config.ts";
import { defineFamily } from "../family.ts";

interface GptNeoxConfig extends DecoderSizes, CausalDecoderConfig {
  readonly activation: (x: Value) => Value;
  readonly epsilon: number;
  readonly attentionBias: boolean;
  readonly parallelResidual: boolean;
  readonly rope: Rope;
}

const wordEmbeddings = "gpt_neox.embed_in.weight";
const languageHead = "embed_out";

/**
 * GPT-NeoX and Pythia: attention and MLP each with a norm of their own, both of the block's input where the residual is
 * parallel; fused queries, keys and values grouped by head; the first quarter of each head turns.
 * Source: Black et al. 2022, arXiv:2204.06745.
 */
export const gptNeox = defineFamily<GptNeoxConfig>({
  name: "gpt-neox",
  source: "arXiv:2204.06745",
  modelTypes: ["gpt_neox"],
  architectures: { GPTNeoXForCausalLM: "text-generation", GPTNeoXModel: "feature-extraction" },
  tasks: ["text-generation", "feature-extraction"],
  basePrefix: "gpt_neox.",
  unneeded: [/rotary_emb\.inv_freq$/, /attention\.(bias|masked_bias)$/],

  readConfig(config) {
    const sizes = readDecoderSizes(config, {
      vocab_size: 50432,
      hidden_size: 6144,
      intermediate_size: 24576,
      num_hidden_layers: 44,
      num_attention_heads: 64,
    });
    if (sizes.kvHeads !== sizes.heads)
      throw config.refuse("num_key_value_heads", `${sizes.heads}: heads are not grouped`);
    config.only("is_decoder", [false, true], "either: the model is always a decoder");
    return {
      ...sizes,
      activation: readActivation(config, "hidden_act", "gelu"),
      epsilon: config.number("layer_norm_eps", { default: 1e-5 }),
      attentionBias: config.flag("attention_bias", true),
      parallelResidual: config.flag("use_parallel_residual", true),
      tied: config.flag("tie_word_embeddings", false),
      rope: readRope(config, {
        theta: 10000,
        partial: 0.25,
        thetaField: "rotary_emb_base",
        partialField: "rotary_pct",
      }),
      windows: [],
    };
  },

  headNames: ({ tied }, task) =>
    task === "text-generation" ? { head: languageHead, embedding: wordEmbeddings, tied } : undefined,

  build(options) {
    const { config } = options;
    const { vocabSize, hiddenSize, epsilon } = config;
    return causalDecoder(options, {
      base: "gpt_neox",
      layers: "layers",
      rope: () => config.rope,
      embed: (base, { inputIds }) => embedding(base, "embed_in", inputIds, [vocabSize, hiddenSize]),
      block: (module, x, place) => block(module, x, place, config),
      norm: (base, x) => layerNorm(base, "final_layer_norm", x, { size: hiddenSize, epsilon }),
      head: { name: languageHead, embedding: wordEmbeddings },
    });
  },
});

/** x + attention(norm(x)) + mlp(norm′(x)); without the parallel residual the MLP reads x + attention(norm(x)) */
function block(module: Module, x: Value, place: DecoderLayer, config: GptNeoxConfig): Attended {
  const norm = { size: config.hiddenSize, epsilon: config.epsilon };
  const normed = layerNorm(module, "input_layernorm", x, norm);
  const { output, present } = inside(module, "attention", (self) => attention(self, normed, place, config));
  const middle = add(x, output);
  const mlpInput = layerNorm(module, "post_attention_layernorm", config.parallelResidual ? x : middle, norm);
  const widened = inside(module, "mlp", (mlp) =>
    plainMlp(mlp, mlpInput, { ...config, names: ["dense_h_to_4h", "dense_4h_to_h"], bias: true }),
  );
  return { output: add(middle, widened), present };
}

function attention(
  self: Module,
  x: Value,
  { layer, decoder, rotation }: DecoderLayer,
  config: GptNeoxConfig,
): Attended {
  const { hiddenSize, heads, headDim, attentionBias: bias } = config;
  const fused = linear(self, "query_key_value", x, { inFeatures: hiddenSize, outFeatures: 3 * hiddenSize, bias });
  const byHead = reshape(fused, [0, 0, heads, 3, headDim]);
  const [query, key, value] = [0, 1, 2].map((part) => gather(byHead, part, 3)); // [batch, sequence, heads, headDim]
  const turn = (states: Value) => (rotation === undefined ? states : rotate(states, rotation));
  const turned = { query: turn(query), key: turn(key), value };
  const { output: mixed, present } = attendCached(self, turned, decoder, { ...config, layer });
  return { output: linear(self, "dense", mixed, { inFeatures: hiddenSize, outFeatures: hiddenSize, bias }), present };
}
