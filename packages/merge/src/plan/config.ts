import { type DType, isFloat } from "@loomweight/tensor";
import type { TensorPlan } from "./plan.ts";
import { outsideRole } from "./roles.ts";

const layerCountKeys = ["num_hidden_layers", "n_layer", "num_layers", "n_layers"];
const vocabularyKeys = ["vocab_size"];
/** Where models of several parts keep the configuration of the one that works on tokens. */
const textSections = ["text_config", "llm_config", "language_config"];

/** Which layer of which configuration each output layer takes its layer type from. */
export interface LayerOrigin {
  readonly config: Readonly<Record<string, unknown>> | undefined;
  readonly layer: number;
}

/** Layers that were picked, in order, and where the configuration counts them. */
export interface PickedLayers {
  readonly origins: readonly LayerOrigin[];
  /** Section of config.json; undefined: its top. */
  readonly section?: string;
  /** Default: whichever usual key is there. */
  readonly key?: string;
}

export interface ConfigChanges {
  /** Per part of the model whose layers were picked; none where models are whole. */
  readonly layers: readonly PickedLayers[];
  readonly tensors: readonly TensorPlan[];
  /** Set where the recipe asks for a dtype. */
  readonly dtype?: DType;
  /** Configuration of the model that gives the tokenizer, where that is another: its special tokens count. */
  readonly specialTokens?: Readonly<Record<string, unknown>>;
}

/**
 * config.json as the merged model needs it: layer count and per-layer lists, dtype, vocabulary size where embeddings
 * were cut, and no tied head where a head of its own is written.
 */
export function rewriteConfig(
  config: Readonly<Record<string, unknown>>,
  { layers, tensors, dtype, specialTokens }: ConfigChanges,
): Record<string, unknown> {
  const result: Record<string, unknown> = { ...config };
  for (const picked of layers) rewriteLayers(result, picked);
  const stored = dtype ?? commonFloat(tensors);
  if (stored !== undefined) {
    for (const key of ["dtype", "torch_dtype"]) if (typeof result[key] === "string") result[key] = stored;
    if (result.dtype === undefined && result.torch_dtype === undefined) result.dtype = stored;
  }
  const embedding = tensors.find(({ name, shape }) => outsideRole(name) === "embedding" && shape.length === 2);
  if (embedding !== undefined) {
    for (const key of vocabularyKeys) if (typeof result[key] === "number") result[key] = embedding.shape[0];
    for (const section of textSections) {
      const inner = result[section];
      if (isObject(inner) && typeof inner.vocab_size === "number") {
        result[section] = { ...inner, vocab_size: embedding.shape[0] };
      }
    }
  }
  if (specialTokens !== undefined && specialTokens !== config) Object.assign(result, specialTokenIds(specialTokens));
  const hasHead = tensors.some(({ name }) => name.endsWith("lm_head.weight"));
  if (hasHead && embedding !== undefined && result.tie_word_embeddings === true) result.tie_word_embeddings = false;
  return result;
}

/** The numbers of special tokens that a config.json or generation_config.json states. */
export function specialTokenIds(config: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const keys = ["bos_token_id", "eos_token_id", "pad_token_id"];
  return Object.fromEntries(keys.filter((key) => config[key] !== undefined).map((key) => [key, config[key]]));
}

function rewriteLayers(config: Record<string, unknown>, { origins, section, key: stated }: PickedLayers): void {
  if (section !== undefined) {
    const inner = { ...(config[section] as Record<string, unknown>) };
    const sectionOf = (origin: LayerOrigin["config"]) => {
      const found = origin?.[section];
      return isObject(found) ? found : undefined;
    };
    const within = origins.map(({ config: origin, layer }) => ({ config: sectionOf(origin), layer }));
    rewriteLayers(inner, { origins: within, key: stated });
    config[section] = inner;
    return;
  }
  const key = stated ?? layerCountKeys.find((each) => typeof config[each] === "number");
  if (key === undefined) return;
  const before = config[key] as number;
  config[key] = origins.length;
  // Encoder-decoder models repeat the count of one of their parts under the usual name.
  if (key === "encoder_layers" && config.num_hidden_layers === before) config.num_hidden_layers = origins.length;
  for (const [name, value] of Object.entries(config)) {
    // Lists with one entry per layer follow the layers: layer_types, and per-layer sizes of some families.
    if (!Array.isArray(value) || value.length !== before || !name.startsWith("layer")) continue;
    const entries = origins.map(({ config: origin, layer }) => {
      const list = origin?.[name];
      return Array.isArray(list) ? list[layer] : undefined;
    });
    if (entries.every((entry) => entry !== undefined)) config[name] = entries;
  }
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The dtype of all floating tensors, where they have one. */
function commonFloat(tensors: readonly TensorPlan[]): DType | undefined {
  const dtypes = new Set(tensors.map(({ dtype }) => dtype).filter(isFloat));
  return dtypes.size === 1 ? [...dtypes][0] : undefined;
}
