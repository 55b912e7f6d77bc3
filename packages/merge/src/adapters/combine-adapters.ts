import {
  type AdaptedModule,
  type Adapter,
  type AdapterFiles,
  type LayerShape,
  type LoraOptions,
  layerOf,
  lora,
  lowRankScale,
  type NewModule,
  newAdapterFiles,
  type PeftConfig,
  requireNoWrapped,
} from "@loomweight/adapters";
import type { TensorInfo } from "@loomweight/checkpoint";
import {
  cast,
  type DType,
  elementCount,
  equal,
  fromFloat64,
  LoomweightError,
  parseOptions,
  type Tensor,
  toFloat64,
} from "@loomweight/tensor";
import { type CombineOptions, combineLowRank, combineOptions } from "./combine-low-rank.ts";
import type { LowRankUpdate } from "./low-rank-sum.ts";

/** An adapter and how much of it is wanted; weights may be negative. */
export interface WeightedAdapter {
  readonly adapter: Adapter;
  readonly weight: number;
}

/** What combining gave. */
export interface CombinedAdapter {
  /** PEFT's two files. */
  readonly files: AdapterFiles;
  /** Module path → what a decomposition left out there, relative to the sum; only where there was one. */
  readonly relativeErrors: ReadonlyMap<string, number>;
  readonly ranks: ReadonlyMap<string, number>;
  readonly warnings: readonly string[];
}

/**
 * LoRA adapters of one base as one LoRA adapter: `combineLowRank` for each layer that any of them changes, those that
 * do not change a layer being left out there. Ranks may differ, also from layer to layer; each layer of the result has
 * the rank it needs and scaling 1. One layer is in memory at a time beside the result, which has the first adapter's
 * dtype, rounded once. Whole modules (`modules_to_save`) are kept from the one adapter that has them.
 *
 * Differs from PEFT 0.21: rsLoRA's scaling is taken into the factors (PEFT's result is √rank times too large); biases
 * on B are summed (PEFT leaves them out). Throws `UNSUPPORTED_ADAPTER` for other types (extract a LoRA first), grouped
 * convolutions and modules that two adapters replace; `SHAPE_MISMATCH` naming the layer.
 */
export async function combineAdapters(
  adapters: readonly WeightedAdapter[],
  options: CombineOptions = {},
): Promise<CombinedAdapter> {
  parseOptions(combineOptions, options, "combine");
  if (adapters.length === 0) {
    throw new LoomweightError({ code: "INVALID_OPTION", problem: "no adapters to combine", option: "adapters" });
  }
  for (const { adapter } of adapters) {
    requireLora(adapter);
    requireNoWrapped(adapter, "combined with others");
  }
  const paths = [...new Set(adapters.flatMap(({ adapter }) => [...adapter.modules.keys()]))];
  const biased = adapters.some(({ adapter }) => adapter.config.values.lora_bias === true);
  const modules = new Map<string, NewModule>();
  const relativeErrors = new Map<string, number>();
  const ranks = new Map<string, number>();
  for (const path of paths) {
    const own = adapters.filter(({ adapter }) => adapter.modules.has(path));
    const parts = await Promise.all(own.map(({ adapter }) => readPart(adapter, path)));
    const weights = own.map(({ weight }) => weight);
    const updates = parts.map(({ update }) => update);
    const combined = inLayer(path, () => combineLowRank(updates, weights, options, path));
    const { dtype, layer } = parts[0];
    const rank = combined.a.shape[0];
    if (combined.relativeError !== undefined) relativeErrors.set(path, combined.relativeError);
    ranks.set(path, rank);
    const bias = biased && layer.kind !== "embedding" ? sumOfBiases(parts, weights, layer.out) : undefined;
    modules.set(path, {
      layer,
      options: { rank, alpha: rank },
      params: {
        A: cast(combined.a, dtype),
        B: cast(combined.b, dtype),
        ...(bias === undefined ? {} : { outputBias: cast(bias, dtype) }),
      },
    });
  }
  const warnings = adapters.flatMap(({ adapter }) => adapter.warnings);
  const [first] = adapters;
  const base = first.adapter.config.values.base_model_name_or_path;
  for (const { adapter } of adapters) {
    const other = adapter.config.values.base_model_name_or_path;
    if (other !== base)
      warnings.push(`${adapter.location} was trained on "${other}", ${first.adapter.location} on "${base}"`);
  }
  const replacements = await wholeModules(adapters);
  const rank = Math.max(1, ...ranks.values());
  const files = newAdapterFiles({
    method: lora,
    options: { rank, alpha: rank, outputBias: biased },
    modules,
    replacements,
    config: configOf(adapters),
  });
  return { files, relativeErrors, ranks, warnings };
}

interface Part {
  readonly update: LowRankUpdate;
  readonly outputBias: Tensor | undefined;
  readonly dtype: DType;
  readonly layer: LayerShape;
}

/** A module's factors as matrices. */
async function readPart(adapter: Adapter, path: string): Promise<Part> {
  const module = adapter.modules.get(path) as AdaptedModule;
  if (module.method.name !== lora.name || module.parts !== undefined) {
    throw new LoomweightError({
      code: "UNSUPPORTED_ADAPTER",
      problem: "only LoRA factors of whole weights are combined",
      file: adapter.location,
      tensor: path,
      found: module.parts === undefined ? module.method.name : "factors of one expert among several",
      fix: "Fold the adapters and merge the models.",
    });
  }
  const [infoA, infoB] = [module.params.get("A"), module.params.get("B")];
  if (infoA === undefined || infoB === undefined) {
    throw new LoomweightError({
      code: "MISSING_TENSOR",
      problem: `the module "${path}" needs both of its factors`,
      file: adapter.location,
      found: [...module.params.values()].map(({ name }) => name).join(", "),
    });
  }
  const [rank, inner] = [infoA.shape[0], elementCount(infoA.shape.slice(1))];
  const out = infoB.shape[0];
  if (infoB.shape[1] !== rank) {
    throw new LoomweightError({
      code: infoA.shape.length > 2 ? "UNSUPPORTED_LAYER" : "SHAPE_MISMATCH",
      problem:
        infoA.shape.length > 2
          ? "adapters of convolutions with groups cannot be combined"
          : "the factors of a module do not fit together",
      file: adapter.location,
      tensor: infoB.name,
      expected: `[${out}, ${rank}, …], as ${infoA.name} has the rank ${rank}`,
      found: `[${infoB.shape}]`,
    });
  }
  const read = async (info: TensorInfo, shape: readonly number[]): Promise<Tensor> => {
    const values = toFloat64(await adapter.checkpoint.read(info.name));
    let bad = 0;
    while (bad < values.length && Number.isFinite(values[bad])) bad++;
    if (bad === values.length) return fromFloat64(values, shape);
    throw new LoomweightError({
      code: "NON_FINITE",
      problem: "the adapter holds a value that is not a finite number",
      file: info.file,
      tensor: info.name,
      found: `${values[bad]} at element ${bad}`,
    });
  };
  const bias = module.params.get("outputBias");
  const [a, b, outputBias] = await Promise.all([
    read(infoA, [rank, inner]),
    read(infoB, [out, rank]),
    bias === undefined ? undefined : read(bias, bias.shape),
  ]);
  const scaling = lowRankScale(module.options as LoraOptions);
  return { update: { a, b, scaling }, outputBias, dtype: infoA.dtype, layer: layerOfFactors(module, infoA, out) };
}

/** The layer as far as the factors tell: GPT-2's Conv1D has those of a linear layer. */
function layerOfFactors({ kind }: AdaptedModule, { shape }: TensorInfo, out: number): LayerShape {
  if (kind === "embedding") return layerOf("embedding", [shape[1], out]);
  return shape.length > 2 ? layerOf("convolution", [out, ...shape.slice(1)]) : layerOf("linear", [out, shape[1]]);
}

/** Σ weight · scaling · bias [out]. */
function sumOfBiases(parts: readonly Part[], weights: readonly number[], out: number): Tensor {
  const sum = new Float64Array(out);
  for (const [index, { outputBias, update }] of parts.entries()) {
    if (outputBias === undefined) continue;
    const factor = weights[index] * update.scaling;
    for (const [i, value] of toFloat64(outputBias).entries()) sum[i] += factor * value;
  }
  return fromFloat64(sum, [out]);
}

/** What belongs to the adapter as a whole; layers by their full names where some adapter chose them by a rule. */
function configOf(adapters: readonly WeightedAdapter[]): PeftConfig {
  const [first] = adapters.map(({ adapter }) => adapter.config.values);
  const values = adapters.map(({ adapter }) => adapter.config.values);
  const lists = values.every(
    ({ target_modules, exclude_modules, layers_to_transform }) =>
      Array.isArray(target_modules) && exclude_modules === null && layers_to_transform === null,
  );
  const union = (field: string) => [...new Set(values.flatMap((each) => (each[field] as string[] | null) ?? []))];
  const saved = union("modules_to_save");
  return {
    base_model_name_or_path: first.base_model_name_or_path,
    revision: first.revision,
    task_type: first.task_type,
    fan_in_fan_out: first.fan_in_fan_out,
    bias: values.find(({ bias }) => bias !== "none")?.bias ?? "none",
    ...(lists ? { target_modules: union("target_modules").sort() } : {}),
    ...(saved.length > 0 ? { modules_to_save: saved } : {}),
  };
}

/** Tensors that replace the base's, from the one adapter that has them; equal ones count once. */
async function wholeModules(adapters: readonly WeightedAdapter[]): Promise<Map<string, Tensor>> {
  const all = new Map<string, { readonly tensor: Tensor; readonly location: string }>();
  for (const { adapter } of adapters) {
    for (const [name, info] of adapter.replacements) {
      const tensor = await adapter.checkpoint.read(info.name);
      const known = all.get(name);
      if (known === undefined) all.set(name, { tensor, location: adapter.location });
      else if (!equal(known.tensor, tensor)) {
        throw new LoomweightError({
          code: "UNSUPPORTED_ADAPTER",
          problem: "two of the adapters replace the same tensor of the base by different ones",
          file: adapter.location,
          tensor: name,
          found: `also in ${known.location}`,
          fix: "Fold the adapters and merge the models, or leave one of them out.",
        });
      }
    }
  }
  return new Map([...all].map(([name, { tensor }]) => [name, tensor]));
}

/** Initialisations that keep the base as it is; after others the factors are measured against a changed base. */
const plainInitialisations: readonly unknown[] = [true, false, "gaussian", "orthogonal", "eva", "mica"];

function requireLora({ method, location, config }: Adapter): void {
  const plain = plainInitialisations.includes(config.values.init_lora_weights);
  if (method.name === lora.name && plain) return;
  throw new LoomweightError({
    code: "UNSUPPORTED_ADAPTER",
    problem: plain
      ? `adapters are combined by their LoRA factors; this one is of the type ${method.name}`
      : `this LoRA belongs to a base that its initialisation "${config.values.init_lora_weights}" changed`,
    file: location,
    option: plain ? "peft_type" : "init_lora_weights",
    fix: "Turn it into a LoRA first (extractLora between the base and the folded model).",
  });
}

/** Errors about factors name the layer. */
function inLayer<T>(path: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof LoomweightError) || error.details.tensor !== undefined) throw error;
    throw new LoomweightError({ ...error.details, tensor: path, cause: error });
  }
}
