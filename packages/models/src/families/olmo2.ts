import { add, type Value } from "@loomweight/graph";
import { readActivation } from "../components/activation.ts";
import { type Attended, attendCached, projections, splitHeads } from "../components/attention.ts";
import { type CausalDecoderConfig, causalDecoder, type DecoderLayer } from "../components/causal-decoder.ts";
import { embedding } from "../components/embeddings.ts";
import { linear } from "../components/linear.ts";
import { gatedMlp } from "../components/mlp.ts";
import { inside, type Module } from "../components/module.ts";
import { rmsNorm } from "../components/norms.ts";
import { decoderEmbedding, decoderHead, decoderHeadNames } from "../components/pre-norm-decoder.ts";
import { rotate } from "../components/rope.ts";
import { type Rope, readRope } from "../components/rope-config.ts";
import { type DecoderSizes, readDecoderSizes, requireFullAttention } from "../decoder-config.ts";
import { defineFamily } from "../family.ts";

interface Olmo2Config extends DecoderSizes, CausalDecoderConfig {
  readonly activation: (x: Value) => Value;
  readonly epsilon: number;
  readonly attentionBias: boolean;
  readonly rope: Rope;
}

/**
 * OLMo 2: no norm before attention and MLP, one on the output of each before it is added; queries and keys are normed
 * over all their heads at once before they are split and turned.
 * Source: OLMo team 2025, arXiv:2501.00656.
 */
export const olmo2 = defineFamily<Olmo2Config>({
  name: "olmo2",
  source: "arXiv:2501.00656",
  modelTypes: ["olmo2"],
  architectures: { Olmo2ForCausalLM: "text-generation", Olmo2Model: "feature-extraction" },
  tasks: ["text-generation", "feature-extraction"],
  basePrefix: "model.",
  unneeded: [/rotary_emb\.inv_freq$/],

  readConfig(config) {
    const sizes = readDecoderSizes(config, {
      vocab_size: 50304,
      hidden_size: 4096,
      intermediate_size: 11008,
      num_hidden_layers: 32,
      num_attention_heads: 32,
    });
    requireFullAttention(config, sizes.layers, "olmo2");
    return {
      ...sizes,
      activation: readActivation(config, "hidden_act", "silu"),
      epsilon: config.number("rms_norm_eps", { default: 1e-5 }),
      attentionBias: config.flag("attention_bias", false),
      tied: config.flag("tie_word_embeddings", false),
      rope: readRope(config, { theta: 10000 }),
      windows: [],
    };
  },

  headNames: decoderHeadNames,

  build(options) {
    const { config } = options;
    const { vocabSize, hiddenSize, epsilon } = config;
    return causalDecoder(options, {
      base: "model",
      layers: "layers",
      rope: () => config.rope,
      embed: (base, { inputIds }) => embedding(base, "embed_tokens", inputIds, [vocabSize, hiddenSize]),
      block: (module, x, place) => block(module, x, place, config),
      norm: (base, x) => rmsNorm(base, "norm", x, { size: hiddenSize, epsilon }),
      head: { name: decoderHead, embedding: decoderEmbedding },
    });
  },
});

/** x + norm(attention(x)), then x + norm(mlp(x)) */
function block(module: Module, x: Value, place: DecoderLayer, config: Olmo2Config): Attended {
  const norm = { size: config.hiddenSize, epsilon: config.epsilon };
  const { output, present } = inside(module, "self_attn", (self) => attention(self, x, place, config));
  const middle = add(x, rmsNorm(module, "post_attention_layernorm", output, norm));
  const widened = inside(module, "mlp", (mlp) => gatedMlp(mlp, middle, { ...config, bias: false }));
  return { output: add(middle, rmsNorm(module, "post_feedforward_layernorm", widened, norm)), present };
}

function attention(self: Module, x: Value, { layer, decoder, rotation }: DecoderLayer, config: Olmo2Config): Attended {
  const { hiddenSize, heads, kvHeads, headDim, epsilon, attentionBias: bias } = config;
  const [q, k, v] = projections(self, x, { hiddenSize, heads, kvHeads, headDim, inputBias: bias });
  const normed = (name: string, projected: Value, count: number) =>
    splitHeads(rmsNorm(self, name, projected, { size: count * headDim, epsilon }), count, headDim);
  const turn = (value: Value) => (rotation === undefined ? value : rotate(value, rotation));
  const query = turn(normed("q_norm", q, heads));
  const key = turn(normed("k_norm", k, kvHeads));
  const value = splitHeads(v, kvHeads, headDim);
  const { output: mixed, present } = attendCached(self, { query, key, value }, decoder, { ...config, layer });
  return {
    output: linear(self, "o_proj", mixed, { inFeatures: heads * headDim, outFeatures: hiddenSize, bias }),
    present,
  };
}
