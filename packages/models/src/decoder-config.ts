import type { ConfigReader } from "./config-reader.ts";

/** Sizes that every decoder with grouped queries states. */
export interface DecoderSizes {
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly layers: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
}

/** A family's own defaults, by the field names of config.json. */
export interface DecoderDefaults {
  readonly vocab_size: number;
  readonly hidden_size: number;
  readonly intermediate_size: number;
  readonly num_hidden_layers: number;
  readonly num_attention_heads: number;
  /** Default: as many as attention heads. */
  readonly num_key_value_heads?: number;
}

/** Reads the sizes; throws `INVALID_CONFIG` when heads do not divide. `max_position_embeddings` bounds nothing here: angles are computed. */
export function readDecoderSizes(config: ConfigReader, defaults: DecoderDefaults): DecoderSizes {
  const size = (field: keyof DecoderDefaults, max?: number) => config.size(field, { default: defaults[field], max });
  const hiddenSize = size("hidden_size");
  const heads = size("num_attention_heads", 65536);
  const kvHeads = config.isNull("num_key_value_heads")
    ? heads
    : config.size("num_key_value_heads", { default: defaults.num_key_value_heads ?? heads, max: heads });
  if (heads % kvHeads !== 0) throw config.refuse("num_key_value_heads", `a divisor of num_attention_heads (${heads})`);
  if (!config.has("head_dim") && hiddenSize % heads !== 0) {
    throw config.refuse("num_attention_heads", `a divisor of hidden_size (${hiddenSize}), or head_dim stated`);
  }
  const headDim = config.size("head_dim", { default: hiddenSize / heads, max: 65536 });
  if (headDim % 2 !== 0) throw config.refuse("head_dim", "an even number: rotary positions turn pairs");
  if (config.has("max_position_embeddings")) config.size("max_position_embeddings", { max: 2 ** 40 });
  return {
    vocabSize: size("vocab_size"),
    hiddenSize,
    intermediateSize: size("intermediate_size"),
    layers: size("num_hidden_layers", 10000),
    heads,
    kvHeads,
    headDim,
  };
}

/**
 * `layer_types`, one of "full_attention" and "sliding_attention" for each layer; undefined when the file does not say.
 */
export function readLayerTypes(config: ConfigReader, layers: number): readonly string[] | undefined {
  const types = config.texts("layer_types");
  if (types === undefined) return undefined;
  const known = ["full_attention", "sliding_attention"];
  if (types.length !== layers || types.some((type) => !known.includes(type))) {
    throw config.refuse(
      "layer_types",
      `${layers} entries (num_hidden_layers), each ${known.map((each) => `"${each}"`).join(" or ")}`,
    );
  }
  return types;
}
