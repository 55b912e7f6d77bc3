import { readActivation } from "../components/activation.ts";
import { decoderHeadNames, type PreNormDecoderConfig, preNormDecoder } from "../components/pre-norm-decoder.ts";
import { readRope } from "../components/rope-config.ts";
import { readDecoderSizes, readLayerTypes } from "../decoder-config.ts";
import { defineFamily } from "../family.ts";

/**
 * Mistral: Llama without biases, and with a sliding window in every layer unless `sliding_window` is null.
 * Source: Jiang et al. 2023, arXiv:2310.06825.
 */
export const mistral = defineFamily<PreNormDecoderConfig>({
  name: "mistral",
  source: "arXiv:2310.06825",
  modelTypes: ["mistral"],
  architectures: { MistralForCausalLM: "text-generation", MistralModel: "feature-extraction" },
  tasks: ["text-generation", "feature-extraction"],
  basePrefix: "model.",
  unneeded: [/rotary_emb\.inv_freq$/],

  readConfig(config) {
    const sizes = readDecoderSizes(config, {
      vocab_size: 32000,
      hidden_size: 4096,
      intermediate_size: 14336,
      num_hidden_layers: 32,
      num_attention_heads: 32,
      num_key_value_heads: 8,
    });
    // null says that there is no window; absence means the default
    const window = config.isNull("sliding_window") ? undefined : config.size("sliding_window", { default: 4096 });
    const kind = window === undefined ? "full_attention" : "sliding_attention";
    if (readLayerTypes(config, sizes.layers)?.some((type) => type !== kind)) {
      throw config.refuse("layer_types", `only "${kind}", as sliding_window says`);
    }
    return {
      ...sizes,
      activation: readActivation(config, "hidden_act", "silu"),
      epsilon: config.number("rms_norm_eps", { default: 1e-6 }),
      inputBias: false,
      outputBias: false,
      mlpBias: false,
      tied: config.flag("tie_word_embeddings", false),
      rope: readRope(config, { theta: 10000 }),
      windows: Array.from({ length: sizes.layers }, () => window),
    };
  },

  headNames: decoderHeadNames,

  build: preNormDecoder,
});
