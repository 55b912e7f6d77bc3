import { add, div, mul, type Value } from "@loomweight/graph";
import { readActivation } from "../components/activation.ts";
import { type Attended, cachedSelfAttention } from "../components/attention.ts";
import { causalDecoder, type DecoderLayer } from "../components/causal-decoder.ts";
import { embedding } from "../components/embeddings.ts";
import { gatedMlp } from "../components/mlp.ts";
import { inside, type Module } from "../components/module.ts";
import { rmsNorm } from "../components/norms.ts";
import {
  decoderEmbedding,
  decoderHead,
  decoderHeadNames,
  type PreNormDecoderConfig,
} from "../components/pre-norm-decoder.ts";
import { readRope } from "../components/rope-config.ts";
import { readDecoderSizes, requireFullAttention } from "../decoder-config.ts";
import { defineFamily } from "../family.ts";

interface GraniteConfig extends PreNormDecoderConfig {
  readonly embeddingMultiplier: number;
  readonly attentionMultiplier: number;
  readonly residualMultiplier: number;
  readonly logitsScaling: number;
}

/**
 * Granite: Llama with four multipliers: of the embeddings, of the scores (in place of 1 / sqrt(headDim)), of each branch
 * before it is added, and a divisor of the logits.
 * Source: IBM 2024, Granite 3.0 language models; scaling after Yang et al. 2022, arXiv:2203.03466.
 */
export const granite = defineFamily<GraniteConfig>({
  name: "granite",
  source: "github.com/ibm-granite/granite-3.0-language-models",
  modelTypes: ["granite"],
  architectures: { GraniteForCausalLM: "text-generation", GraniteModel: "feature-extraction" },
  tasks: ["text-generation", "feature-extraction"],
  basePrefix: "model.",
  unneeded: [/rotary_emb\.inv_freq$/],

  readConfig(config) {
    const sizes = readDecoderSizes(config, {
      vocab_size: 32000,
      hidden_size: 4096,
      intermediate_size: 11008,
      num_hidden_layers: 32,
      num_attention_heads: 32,
    });
    requireFullAttention(config, sizes.layers, "granite");
    const attentionBias = config.flag("attention_bias", false);
    return {
      ...sizes,
      activation: readActivation(config, "hidden_act", "silu"),
      epsilon: config.number("rms_norm_eps", { default: 1e-6 }),
      inputBias: attentionBias,
      outputBias: attentionBias,
      mlpBias: config.flag("mlp_bias", false),
      tied: config.flag("tie_word_embeddings", false),
      rope: readRope(config, { theta: 10000 }),
      windows: [],
      embeddingMultiplier: config.number("embedding_multiplier", { default: 1 }),
      attentionMultiplier: config.number("attention_multiplier", { default: 1 }),
      residualMultiplier: config.number("residual_multiplier", { default: 1 }),
      logitsScaling: config.number("logits_scaling", { default: 1 }),
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
      embed: (base, { inputIds }) =>
        mul(embedding(base, "embed_tokens", inputIds, [vocabSize, hiddenSize]), config.embeddingMultiplier),
      block: (module, x, place) => block(module, x, place, config),
      norm: (base, x) => rmsNorm(base, "norm", x, { size: hiddenSize, epsilon }),
      head: { name: decoderHead, embedding: decoderEmbedding },
      logits: (logits) => div(logits, config.logitsScaling),
    });
  },
});

/** x + m · attention(norm(x)), then x + m · mlp(norm(x)) */
function block(module: Module, x: Value, place: DecoderLayer, config: GraniteConfig): Attended {
  const { hiddenSize, epsilon, attentionMultiplier, residualMultiplier } = config;
  const norm = { size: hiddenSize, epsilon };
  const normedInput = rmsNorm(module, "input_layernorm", x, norm);
  const { output, present } = inside(module, "self_attn", (self) =>
    cachedSelfAttention(self, normedInput, place.decoder, place.rotation, {
      ...config,
      headNorm: undefined,
      layer: place.layer,
      scale: attentionMultiplier,
    }),
  );
  const middle = add(x, mul(output, residualMultiplier));
  const normedMiddle = rmsNorm(module, "post_attention_layernorm", middle, norm);
  const widened = inside(module, "mlp", (mlp) => gatedMlp(mlp, normedMiddle, { ...config, bias: config.mlpBias }));
  return { output: add(middle, mul(widened, residualMultiplier)), present };
}
