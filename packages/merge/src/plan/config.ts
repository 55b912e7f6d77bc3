import { type DType, isFloat } from "@loomweight/tensor";
import type { TensorPlan } from "./plan.ts";
import { outsideRole } from "./roles.ts";

const layerCountKeys = ["num_hidden_layers", "n_layer", "num_layers", "n_layers"];
const vocabularyKeys = ["vocab_size"];

/** Which layer of which configuration each output layer takes its layer type from. */
export interface LayerOrigin {
  readonly config: Readonly<Record<string, unknown>> | undefined;
  readonly layer: number;
}

export interface ConfigChanges {
  /** Present where layers were picked: their origins in order. */
  readonly layers?: readonly LayerOrigin[];
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
  if (layers !== undefined) rewriteLayers(result, layers);
  const stored = dtype ?? commonFloat(tensors);
  if (stored !== undefined) {
    for (const key of ["dtype", "torch_dtype"]) if (typeof result[key] === "string") result[key] = stored;
    if (result.dtype === undefined && result.torch_dtype === undefined) result.dtype = stored;
  }
  const embedding = tensors.find(({ name, shape }) => outsideRole(name) === "embedding" && shape.length === 2);
  if (embedding !== undefined) {
    for (const key of vocabularyKeys) if (typeof result[key] === "number") result[key] = embedding.shape[0];
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

function rewriteLayers(config: Record<string, unknown>, layers: readonly LayerOrigin[]): void {
  const key = layerCountKeys.find((each) => typeof config[each] === "number");
  if (key === undefined) return;
  const before = config[key] as number;
  config[key] = layers.length;
  for (const [name, value] of Object.entries(config)) {
    // Lists with one entry per layer follow the layers: layer_types, and per-layer sizes of some families.
    if (!Array.isArray(value) || value.length !== before || !name.startsWith("layer")) continue;
    const entries = layers.map(({ config: origin, layer }) => {
      const list = origin?.[name];
      return Array.isArray(list) ? list[layer] : undefined;
    });
    if (entries.every((entry) => entry !== undefined)) config[name] = entries;
  }
}

/** The dtype of all floating tensors, where they have one. */
function commonFloat(tensors: readonly TensorPlan[]): DType | undefined {
  const dtypes = new Set(tensors.map(({ dtype }) => dtype).filter(isFloat));
  return dtypes.size === 1 ? [...dtypes][0] : undefined;
}
