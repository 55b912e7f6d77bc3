import { readActivation } from "../components/activation.ts";
import { decoderHeadNames, type PreNormDecoderConfig, preNormDecoder } from "../components/pre-norm-decoder.ts";
import { readRope } from "../components/rope-config.ts";
import { readDecoderSizes, readOptionalWindows } from "../decoder-config.ts";
import { defineFamily } from "../family.ts";

/**
 * Qwen2 and Qwen2.5: Llama with a bias on q, k and v (no field says so) and none on o. A sliding window counts only with
 * `use_sliding_window`, in the layers that `layer_types` names or, without it, from `max_window_layers` on.
 * Source: Yang et al. 2024, arXiv:2407.10671.
 */
export const qwen2 = defineFamily<PreNormDecoderConfig>({
  name: "qwen2",
  source: "arXiv:2407.10671",
  modelTypes: ["qwen2"],
  architectures: { Qwen2ForCausalLM: "text-generation", Qwen2Model: "feature-extraction" },
  tasks: ["text-generation", "feature-extraction"],
  basePrefix: "model.",
  unneeded: [/rotary_emb\.inv_freq$/],

  readConfig(config) {
    config.only("use_mrope", [false], "positions of several axes are not built");
    const sizes = readDecoderSizes(config, {
      vocab_size: 151936,
      hidden_size: 4096,
      intermediate_size: 22016,
      num_hidden_layers: 32,
      num_attention_heads: 32,
      num_key_value_heads: 32,
    });
    const firstSliding = config.size("max_window_layers", { default: 28, min: 0 });
    return {
      ...sizes,
      activation: readActivation(config, "hidden_act", "silu"),
      epsilon: config.number("rms_norm_eps", { default: 1e-6 }),
      inputBias: true,
      outputBias: false,
      mlpBias: false,
      wide: true,
      tied: config.flag("tie_word_embeddings", false),
      rope: readRope(config, { theta: 10000 }),
      windows: readOptionalWindows(config, sizes.layers, { window: 4096, slides: (layer) => layer >= firstSliding }),
    };
  },

  headNames: decoderHeadNames,

  build: preNormDecoder,
});
