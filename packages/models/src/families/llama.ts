import { readActivation } from "../components/activation.ts";
import { decoderHeadNames, type PreNormDecoderConfig, preNormDecoder } from "../components/pre-norm-decoder.ts";
import { readRope } from "../components/rope-config.ts";
import { readDecoderSizes, requireFullAttention } from "../decoder-config.ts";
import { defineFamily } from "../family.ts";

/**
 * Llama: every layer sees all earlier tokens; `attention_bias` puts a bias on q, k, v and o, `mlp_bias` on all three
 * matrices of the MLP.
 * Source: Touvron et al. 2023, arXiv:2302.13971; grouped queries, arXiv:2307.09288.
 */
export const llama = defineFamily<PreNormDecoderConfig>({
  name: "llama",
  source: "arXiv:2302.13971",
  modelTypes: ["llama"],
  architectures: { LlamaForCausalLM: "text-generation", LlamaModel: "feature-extraction" },
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
    requireFullAttention(config, sizes.layers, "llama");
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
    };
  },

  headNames: decoderHeadNames,

  build: preNormDecoder,
});
