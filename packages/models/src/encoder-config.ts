import type { Value } from "@loomweight/graph";
import { readActivation } from "./components/activation.ts";
import { countLabels } from "./components/heads.ts";
import type { ConfigReader } from "./config-reader.ts";

/** Sizes that BERT and its relatives state. */
export interface EncoderConfig {
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly layers: number;
  readonly heads: number;
  /** Rows of the table of positions. */
  readonly positions: number;
  readonly activation: (x: Value) => Value;
  readonly epsilon: number;
  /** Whether the masked language head is the table of words. */
  readonly tied: boolean;
  readonly labels: number | undefined;
}

/** A family's own defaults, by the field names of config.json. */
export interface EncoderDefaults {
  readonly vocab_size: number;
  readonly hidden_size?: number;
  readonly intermediate_size?: number;
  readonly num_attention_heads?: number;
  readonly layer_norm_eps?: number;
}

/** Reads the sizes, and refuses what no encoder here is: a decoder, relative positions. Throws `INVALID_CONFIG`. */
export function readEncoderConfig(config: ConfigReader, defaults: EncoderDefaults): EncoderConfig {
  const { hidden_size = 768, intermediate_size = 3072, num_attention_heads = 12, layer_norm_eps = 1e-12 } = defaults;
  config.only("position_embedding_type", ["absolute"], "relative positions are not built yet");
  config.only("is_decoder", [false], "an encoder as a decoder is not built yet");
  config.only("add_cross_attention", [false], "an encoder as a decoder is not built yet");
  const hiddenSize = config.size("hidden_size", { default: hidden_size });
  const heads = config.size("num_attention_heads", { default: num_attention_heads });
  if (hiddenSize % heads !== 0) throw config.refuse("num_attention_heads", `a divisor of hidden_size (${hiddenSize})`);
  return {
    vocabSize: config.size("vocab_size", { default: defaults.vocab_size }),
    hiddenSize,
    intermediateSize: config.size("intermediate_size", { default: intermediate_size }),
    layers: config.size("num_hidden_layers", { default: 12, max: 10000 }),
    heads,
    positions: config.size("max_position_embeddings", { default: 512 }),
    activation: readActivation(config, "hidden_act", "gelu"),
    epsilon: config.number("layer_norm_eps", { default: layer_norm_eps, min: 0 }),
    tied: config.flag("tie_word_embeddings", true),
    labels: countLabels(config),
  };
}
