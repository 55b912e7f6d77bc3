import { readActivation } from "../components/activation.ts";
import { decoderHeadNames, type PreNormDecoderConfig, preNormDecoder } from "../components/pre-norm-decoder.ts";
import { readRope } from "../components/rope-config.ts";
import type { ConfigReader } from "../config-reader.ts";
import { readDecoderSizes, readOptionalWindows } from "../decoder-config.ts";
import { defineFamily } from "../family.ts";

/**
 * SmolLM3: Llama with a tied head, in which some layers do not turn queries and keys: those whose entry of
 * `no_rope_layers` is 0, by default every fourth. Such layers alone may have a sliding window.
 * Source: Bakouch et al. 2025, huggingface.co/blog/smollm3; layers without rope: Yang et al. 2025, arXiv:2501.18795.
 */
export const smollm3 = defineFamily<PreNormDecoderConfig>({
  name: "smollm3",
  source: "huggingface.co/blog/smollm3",
  modelTypes: ["smollm3"],
  architectures: { SmolLM3ForCausalLM: "text-generation", SmolLM3Model: "feature-extraction" },
  tasks: ["text-generation", "feature-extraction"],
  basePrefix: "model.",
  unneeded: [/rotary_emb\.inv_freq$/],

  readConfig(config) {
    const sizes = readDecoderSizes(config, {
      vocab_size: 128256,
      hidden_size: 2048,
      intermediate_size: 11008,
      num_hidden_layers: 36,
      num_attention_heads: 16,
      num_key_value_heads: 4,
    });
    const attentionBias = config.flag("attention_bias", false);
    const withoutRope = readLayersWithoutRope(config, sizes.layers);
    config.value("max_window_layers"); // written by its first releases, read by nothing
    return {
      ...sizes,
      activation: readActivation(config, "hidden_act", "silu"),
      epsilon: config.number("rms_norm_eps", { default: 1e-6 }),
      inputBias: attentionBias,
      outputBias: attentionBias,
      mlpBias: config.flag("mlp_bias", false),
      tied: config.flag("tie_word_embeddings", true),
      rope: readRope(config, { theta: 2000000 }),
      withoutRope,
      windows: readOptionalWindows(config, sizes.layers, {
        window: undefined,
        slides: (layer) => withoutRope.has(layer),
      }),
    };
  },

  headNames: decoderHeadNames,

  build: preNormDecoder,
});

/** `no_rope_layers` holds 1 for a layer that turns and 0 for one that does not. */
function readLayersWithoutRope(config: ConfigReader, layers: number): Set<number> {
  const interval = config.size("no_rope_layer_interval", { default: 4 });
  const all = Array.from({ length: layers }, (_, layer) => layer);
  if (!config.has("no_rope_layers")) return new Set(all.filter((layer) => (layer + 1) % interval === 0));
  const turns = config.numbers("no_rope_layers");
  if (turns.length !== layers || turns.some((each) => each !== 0 && each !== 1)) {
    throw config.refuse("no_rope_layers", `${layers} entries (num_hidden_layers), each 0 or 1`);
  }
  return new Set(all.filter((layer) => turns[layer] === 0));
}
