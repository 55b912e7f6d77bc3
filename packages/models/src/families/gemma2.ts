import { decoderHeadNames } from "../components/pre-norm-decoder.ts";
import { readRope } from "../components/rope-config.ts";
import { readSandwichDecoder, type SandwichDecoderConfig, sandwichDecoder } from "../components/sandwich-decoder.ts";
import { readLayerTypes } from "../decoder-config.ts";
import { defineFamily } from "../family.ts";

/**
 * Gemma 2: norms before and after each branch, soft caps on scores and logits, a sliding window in layers 0, 2, 4, …
 * unless `layer_types` says otherwise; scores are divided by sqrt(`query_pre_attn_scalar`).
 * Source: Gemma team 2024, arXiv:2408.00118.
 */
export const gemma2 = defineFamily<SandwichDecoderConfig>({
  name: "gemma2",
  source: "arXiv:2408.00118",
  modelTypes: ["gemma2"],
  architectures: { Gemma2ForCausalLM: "text-generation", Gemma2Model: "feature-extraction" },
  tasks: ["text-generation", "feature-extraction"],
  basePrefix: "model.",
  unneeded: [/rotary_emb\.inv_freq$/],

  readConfig(config) {
    const shared = readSandwichDecoder(
      config,
      {
        vocab_size: 256000,
        hidden_size: 2304,
        intermediate_size: 9216,
        num_hidden_layers: 26,
        num_attention_heads: 8,
        num_key_value_heads: 4,
        head_dim: 256,
      },
      { score: 50, logit: 30 },
    );
    config.value("cache_implementation"); // how the reference library stores its cache
    const window = config.isNull("sliding_window") ? undefined : config.size("sliding_window", { default: 4096 });
    const types = readLayerTypes(config, shared.layers);
    const slides = (layer: number) => (types === undefined ? layer % 2 === 0 : types[layer] === "sliding_attention");
    const rope = readRope(config, { theta: 10000 });
    return {
      ...shared,
      headNorm: false,
      ropes: Array.from({ length: shared.layers }, () => rope),
      windows: Array.from({ length: shared.layers }, (_, layer) => (slides(layer) ? window : undefined)),
    };
  },

  headNames: decoderHeadNames,

  build: sandwichDecoder,
});
