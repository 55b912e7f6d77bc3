import { readActivation } from "../components/activation.ts";
import { decoderHeadNames, type PreNormDecoderConfig, preNormDecoder } from "../components/pre-norm-decoder.ts";
import { readRope } from "../components/rope-config.ts";
import { readDecoderSizes, readOptionalWindows } from "../decoder-config.ts";
import { defineFamily } from "../family.ts";

/**
 * Qwen3: Llama with an RMSNorm over each query and key head before it turns; heads are 128 wide unless `head_dim` says
 * otherwise. `attention_bias` covers q, k, v and o; a sliding window counts as in Qwen2.
 * Source: Yang et al. 2025, arXiv:2505.09388.
 */
export const qwen3 = defineFamily<PreNormDecoderConfig>({
  name: "qwen3",
  source: "arXiv:2505.09388",
  modelTypes: ["qwen3"],
  architectures: { Qwen3ForCausalLM: "text-generation", Qwen3Model: "feature-extraction" },
  tasks: ["text-generation", "feature-extraction"],
  basePrefix: "model.",
  unneeded: [/rotary_emb\.inv_freq$/],

  readConfig(config) {
    const sizes = readDecoderSizes(config, {
      vocab_size: 151936,
      hidden_size: 4096,
      intermediate_size: 22016,
      num_hidden_layers: 32,
      num_attention_heads: 32,
      num_key_value_heads: 32,
      head_dim: 128,
    });
    const attentionBias = config.flag("attention_bias", false);
    const firstSliding = config.size("max_window_layers", { default: 28, min: 0 });
    return {
      ...sizes,
      activation: readActivation(config, "hidden_act", "silu"),
      epsilon: config.number("rms_norm_eps", { default: 1e-6 }),
      inputBias: attentionBias,
      outputBias: attentionBias,
      mlpBias: false,
      headNorm: true,
      tied: config.flag("tie_word_embeddings", false),
      rope: readRope(config, { theta: 10000 }),
      windows: readOptionalWindows(config, sizes.layers, { window: 4096, slides: (layer) => layer >= firstSliding }),
    };
  },

  headNames: decoderHeadNames,

  build: preNormDecoder,
});
