import { decoderHeadNames } from "../components/pre-norm-decoder.ts";
import { type Rope, readRope, readRopeFields } from "../components/rope-config.ts";
import { readSandwichDecoder, type SandwichDecoderConfig, sandwichDecoder } from "../components/sandwich-decoder.ts";
import { type ConfigReader, readConfigFields } from "../config-reader.ts";
import { readLayerTypes } from "../decoder-config.ts";
import { defineFamily } from "../family.ts";

/**
 * Gemma 3, text only: Gemma 2 with normed query and key heads in place of caps. Five layers of six slide; these turn with
 * a base of their own and without scaling, full layers with `rope_theta` and `rope_scaling`.
 * Source: Gemma team 2025, arXiv:2503.19786.
 */
export const gemma3 = defineFamily<SandwichDecoderConfig>({
  name: "gemma3",
  source: "arXiv:2503.19786",
  modelTypes: ["gemma3_text"],
  architectures: { Gemma3ForCausalLM: "text-generation", Gemma3TextModel: "feature-extraction" },
  tasks: ["text-generation", "feature-extraction"],
  basePrefix: "model.",
  unneeded: [/rotary_emb\.inv_freq$/],

  readConfig(config) {
    const shared = readSandwichDecoder(
      config,
      {
        vocab_size: 262208,
        hidden_size: 2304,
        intermediate_size: 9216,
        num_hidden_layers: 26,
        num_attention_heads: 8,
        num_key_value_heads: 4,
        head_dim: 256,
      },
      { score: undefined, logit: undefined },
    );
    config.value("cache_implementation"); // how the reference library stores its cache
    const window = config.isNull("sliding_window") ? undefined : config.size("sliding_window", { default: 4096 });
    const pattern = config.size("sliding_window_pattern", { default: 6 });
    const types = readLayerTypes(config, shared.layers);
    const slides = Array.from({ length: shared.layers }, (_, layer) =>
      types === undefined ? (layer + 1) % pattern !== 0 : types[layer] === "sliding_attention",
    );
    const { full, sliding } = readRopes(config);
    return {
      ...shared,
      headNorm: true,
      ropes: slides.map((each) => (each ? sliding : full)),
      windows: slides.map((each) => (each ? window : undefined)),
    };
  },

  headNames: decoderHeadNames,

  build: sandwichDecoder,
});

/** One rope for each kind of layer: by name inside `rope_parameters`, or `rope_theta` beside `rope_local_base_freq`. */
function readRopes(config: ConfigReader): { full: Rope; sliding: Rope } {
  const localTheta = config.number("rope_local_base_freq", { default: 10000 });
  const nested = config.nested("rope_parameters");
  if (nested === undefined) {
    const sliding: Rope = { type: "default", theta: localTheta, partial: 1 };
    return { full: readRope(config, { theta: 1000000 }), sliding };
  }
  config.only("rope_scaling", [], "rope_parameters is there; keep one of the two spellings");
  const kind = (field: string, theta: number, thetaField: string) =>
    readRopeFields(config, nested.nested(field) ?? readConfigFields({}, config.file), { theta, thetaField });
  const ropes = {
    full: kind("full_attention", 1000000, "rope_theta"),
    sliding: kind("sliding_attention", localTheta, "rope_local_base_freq"),
  };
  nested.finish(new Set());
  return ropes;
}
