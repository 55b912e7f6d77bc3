import {
  type AdapterFiles,
  type LayerKind,
  type LayerShape,
  layerOf,
  lora,
  type NewModule,
  newAdapterFiles,
  type PeftConfig,
} from "@loomweight/adapters";
import type { Checkpoint, TensorInfo } from "@loomweight/checkpoint";
import {
  cast,
  choice,
  elementCount,
  fraction,
  fromFloat64,
  integer,
  isFloat,
  LoomweightError,
  type OptionValues,
  parseOptions,
  type Tensor,
  toFloat64,
} from "@loomweight/tensor";
import { truncateDelta } from "./truncate-low-rank.ts";

/** Options of an extraction that can be written down. */
export const extractOptions = {
  rank: integer(16, "rank of each layer's update at most", { min: 1 }),
  energy: fraction(1, "share of Σ σ² that is enough: layers take the smallest rank, up to `rank`, that keeps it"),
  dtype: choice(["float32", "bfloat16", "float16"], "float32", "dtype of the factors"),
  seed: integer(0, "seed of the random projections", { min: 0 }),
};

export interface ExtractLoraOptions extends Partial<OptionValues<typeof extractOptions>> {
  /** Which weights, by module path ("model.layers.0.mlp.up_proj"), get factors; the others must be equal or are saved whole. Default all. */
  readonly include?: (path: string) => boolean;
  /** `model_type` of config.json: tells GPT-2's Conv1D. */
  readonly modelType?: unknown;
  /** Fields of adapter_config.json: base_model_name_or_path, task_type. */
  readonly config?: PeftConfig;
  readonly signal?: AbortSignal;
  onProgress?(progress: { readonly tensor: string; readonly done: number; readonly total: number }): void;
}

/** How well one layer's update is kept. */
export interface ExtractedLayer {
  readonly path: string;
  readonly rank: number;
  /** ‖delta − B A‖ / ‖delta‖ in the Frobenius norm. */
  readonly relativeError: number;
}

export interface ExtractedLora {
  readonly files: AdapterFiles;
  readonly layers: readonly ExtractedLayer[];
  /** Tensors kept whole, as they are no matrices: norms, biases. */
  readonly whole: readonly string[];
  /** Tensors that are equal in both models. */
  readonly unchanged: number;
}

/**
 * The difference of two models of one architecture as a LoRA of a chosen rank or energy: the best approximation of each
 * changed matrix (Eckart and Young 1936), by truncated decomposition in float64. Norms and biases that changed are
 * stored whole, as `modules_to_save`. Equal tensors cost one comparison. Any adapter type becomes a LoRA by taking the
 * folded model for `tuned`. One weight is in memory at a time beside the factors.
 *
 * Throws `SHAPE_MISMATCH` (a resized vocabulary among others), `MISSING_TENSOR`, `NOTHING_CHANGED`, `NOT_FINITE`.
 */
export async function extractLora(
  base: Checkpoint,
  tuned: Checkpoint,
  options: ExtractLoraOptions = {},
): Promise<ExtractedLora> {
  const { include = () => true, modelType, config, signal, onProgress, ...raw } = options;
  const { rank, energy, dtype, seed } = parseOptions(extractOptions, raw, "extract-lora");
  requireSameTensors(base, tuned);
  const modules = new Map<string, NewModule>();
  const replacements = new Map<string, Tensor>();
  const layers: ExtractedLayer[] = [];
  let unchanged = 0;
  let done = 0;
  for (const info of base.tensors.values()) {
    signal?.throwIfAborted();
    onProgress?.({ tensor: info.name, done: done++, total: base.tensors.size });
    if (await isSame(info, base, tuned)) {
      unchanged++;
      continue;
    }
    const [before, after] = await Promise.all([base.read(info.name), tuned.read(info.name)]);
    const layer = layerOfTensor(info, modelType);
    const path = info.name.replace(/\.weight$/, "");
    if (layer === undefined || !include(path)) {
      replacements.set(info.name, after);
      continue;
    }
    const found = truncateDelta(differenceAs(layer, before, after, info), { rank, energy }, seed);
    const own = found.a.shape[0];
    layers.push({ path, rank: own, relativeError: found.relativeError });
    modules.set(path, {
      layer,
      options: { rank: own, alpha: own },
      params: { A: cast(found.a, dtype), B: cast(found.b, dtype) },
    });
  }
  if (modules.size === 0) throw nothingChanged(base, tuned, replacements.size);
  const most = Math.max(...layers.map((each) => each.rank));
  const saved = [...new Set([...replacements.keys()].map((name) => name.slice(0, Math.max(0, name.lastIndexOf(".")))))];
  const files = newAdapterFiles({
    method: lora,
    options: { rank: most, alpha: most },
    modules,
    replacements,
    config: {
      ...(saved.length > 0 ? { modules_to_save: saved } : {}),
      fan_in_fan_out: [...modules.values()].some(({ layer }) => layer.kind === "transposedLinear"),
      ...config,
    },
  });
  return { files, layers, whole: [...replacements.keys()], unchanged };
}

/** Modules that are tables of rows, one for a token or a position. */
const embeddingNames = /(^|\.)(embed_tokens|wte|wpe|shared|(word|position|token_type)_embeddings|embed_in)$/;
const transposedModels: readonly unknown[] = ["gpt2", "openai-gpt", "imagegpt", "decision_transformer"];

/** The layer that a weight belongs to; undefined for what LoRA has no factors for. */
function layerOfTensor({ name, shape, dtype }: TensorInfo, modelType: unknown): LayerShape | undefined {
  if (!name.endsWith(".weight") || !isFloat(dtype) || shape.length < 2 || shape.length > 5) return undefined;
  const path = name.slice(0, -".weight".length);
  const kind: LayerKind =
    shape.length > 2
      ? "convolution"
      : embeddingNames.test(path)
        ? "embedding"
        : transposedModels.includes(modelType) && /\.(c_attn|c_proj|c_fc|q_attn)$/.test(path)
          ? "transposedLinear"
          : "linear";
  return layerOf(kind, shape, name);
}

/** after − before as [out, in]. */
function differenceAs(layer: LayerShape, before: Tensor, after: Tensor, info: TensorInfo): Tensor<"float64"> {
  const [a, b] = [toFloat64(after), toFloat64(before)];
  const difference = new Float64Array(a.length);
  for (let i = 0; i < a.length; i++) {
    difference[i] = a[i] - b[i];
    if (Number.isFinite(difference[i])) continue;
    throw new LoomweightError({
      code: "NOT_FINITE",
      problem: "the difference of the models is not a finite number",
      file: info.file,
      tensor: info.name,
      found: `${a[i]} − ${b[i]} at element ${i}`,
    });
  }
  if (layer.kind === "linear" || layer.kind === "convolution") return fromFloat64(difference, [layer.out, layer.in]);
  const { data } = fromFloat64(difference, [layer.in, layer.out]);
  return { dtype: "float64", data, shape: [layer.out, layer.in], stride: [1, layer.out], offset: 0 };
}

/** Elements compared at a time. */
const chunkBytes = 2 ** 22;

async function isSame(info: TensorInfo, base: Checkpoint, tuned: Checkpoint): Promise<boolean> {
  const other = tuned.tensors.get(info.name) as TensorInfo;
  if (other.dtype !== info.dtype) return equalValues(await base.read(info.name), await tuned.read(info.name));
  for (let start = 0; start < info.byteLength; start += chunkBytes) {
    const range = { start, end: Math.min(info.byteLength, start + chunkBytes) };
    const [a, b] = await Promise.all([base.readBytes(info.name, range), tuned.readBytes(info.name, range)]);
    for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  }
  return true;
}

function equalValues(a: Tensor, b: Tensor): boolean {
  const [x, y] = [toFloat64(a), toFloat64(b)];
  return x.every((value, i) => value === y[i]);
}

function requireSameTensors(base: Checkpoint, tuned: Checkpoint): void {
  for (const { name, shape } of base.tensors.values()) {
    const other = tuned.tensors.get(name);
    if (other === undefined) throw missing(name, tuned, base);
    if (`${other.shape}` === `${shape}`) continue;
    throw new LoomweightError({
      code: "SHAPE_MISMATCH",
      problem: "the models have a tensor of different shapes",
      tensor: name,
      expected: `[${shape}] as in ${base.location}`,
      found: `[${other.shape}] in ${tuned.location}`,
      fix:
        elementCount(shape) > elementCount(other.shape)
          ? "Are base and model swapped?"
          : "Resize the base's vocabulary first.",
    });
  }
  for (const name of tuned.tensors.keys()) if (!base.tensors.has(name)) throw missing(name, base, tuned);
}

function missing(name: string, where: Checkpoint, has: Checkpoint): LoomweightError {
  return new LoomweightError({
    code: "MISSING_TENSOR",
    problem: "only one of the models has this tensor",
    tensor: name,
    file: where.location,
    expected: `as in ${has.location}`,
    fix: "An adapter can only be extracted between models of one architecture.",
  });
}

function nothingChanged(base: Checkpoint, tuned: Checkpoint, whole: number): LoomweightError {
  return new LoomweightError({
    code: "NOTHING_CHANGED",
    problem: `no matrix differs between ${base.location} and ${tuned.location}`,
    found: whole === 0 ? "equal models" : `${whole} other tensors differ`,
  });
}
