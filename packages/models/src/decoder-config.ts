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
  /** Positions that tables of angles hold, where angles are not computed. */
  readonly positions: number;
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
  /** Default: hidden size by attention heads. */
  readonly head_dim?: number;
}

/** Tables of positions stop here, however many a file states: 4 MB of them. */
const mostPositions = 2 ** 20;

/** Reads the sizes; throws `INVALID_CONFIG` when heads do not divide. `max_position_embeddings` bounds only graphs that look angles up. */
export function readDecoderSizes(config: ConfigReader, defaults: DecoderDefaults): DecoderSizes {
  const size = (field: keyof DecoderDefaults, max?: number) => config.size(field, { default: defaults[field], max });
  const hiddenSize = size("hidden_size");
  const heads = size("num_attention_heads", 65536);
  const kvHeads = config.isNull("num_key_value_heads")
    ? heads
    : config.size("num_key_value_heads", { default: defaults.num_key_value_heads ?? heads, max: heads });
  if (heads % kvHeads !== 0) throw config.refuse("num_key_value_heads", `a divisor of num_attention_heads (${heads})`);
  const headStated = config.has("head_dim") || defaults.head_dim !== undefined;
  if (!headStated && hiddenSize % heads !== 0) {
    throw config.refuse("num_attention_heads", `a divisor of hidden_size (${hiddenSize}), or head_dim stated`);
  }
  const headDim = config.size("head_dim", { default: defaults.head_dim ?? hiddenSize / heads, max: 65536 });
  if (headDim % 2 !== 0) throw config.refuse("head_dim", "an even number: rotary positions turn pairs");
  const stated = config.has("max_position_embeddings")
    ? config.size("max_position_embeddings", { max: 2 ** 40 })
    : undefined;
  return {
    vocabSize: size("vocab_size"),
    hiddenSize,
    intermediateSize: size("intermediate_size"),
    layers: size("num_hidden_layers", 10000),
    heads,
    kvHeads,
    headDim,
    positions: Math.min(stated ?? 2 ** 17, mostPositions),
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

/**
 * Windows where a file may state a window that only `use_sliding_window` makes count, in the layers that `layer_types`
 * names or, without it, in those that `slides` tells: Qwen2 and its relatives.
 */
export function readOptionalWindows(
  config: ConfigReader,
  layers: number,
  { window: initial, slides }: { window: number | undefined; slides: (layer: number) => boolean },
): (number | undefined)[] {
  const used = config.flag("use_sliding_window", false);
  const stated =
    config.isNull("sliding_window") || (initial === undefined && !config.has("sliding_window"))
      ? undefined
      : config.size("sliding_window", { default: initial });
  const window = used ? stated : undefined;
  const types = readLayerTypes(config, layers);
  return Array.from({ length: layers }, (_, layer) => {
    const sliding = types === undefined ? slides(layer) : types[layer] === "sliding_attention";
    if (sliding && types !== undefined && window === undefined) {
      throw config.refuse(
        "layer_types",
        `only "full_attention", since use_sliding_window or sliding_window is not set`,
      );
    }
    return sliding ? window : undefined;
  });
}

/** `layer_types` must say "full_attention" throughout, and `sliding_window` nothing: for families without windows. */
export function requireFullAttention(config: ConfigReader, layers: number, family: string): void {
  if (readLayerTypes(config, layers)?.includes("sliding_attention")) {
    throw config.refuse("layer_types", `only "full_attention": ${family} has no sliding window`);
  }
  config.only("sliding_window", [], `${family} has no sliding window`);
}
