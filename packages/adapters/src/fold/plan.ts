import type { Checkpoint, TensorInfo } from "@loomweight/checkpoint";
import { type DType, elementCount, isFloat, LoomweightError, shapeMismatch } from "@loomweight/tensor";
import type { AdapterMethod, LayerPlace, ParamShape } from "../define.ts";
import { type LayerShape, storedAxis } from "../layer.ts";
import type { AdaptedModule, Adapter } from "../peft/adapter.ts";
import { fitModules } from "./fit.ts";
import { mapPaths, type PathMap } from "./locate.ts";
import { hasWrapped, wrappedSteps } from "./wrapped-steps.ts";

/** A method at work on one tensor. */
export interface FoldStep {
  readonly adapter: Adapter;
  readonly method: AdapterMethod;
  readonly module: AdaptedModule;
  readonly layer: LayerShape;
  readonly shapes: Readonly<Record<string, ParamShape>>;
  /** Tensors that layers share, by the parameter that this one knows them as. */
  readonly shared: ReadonlyMap<string, TensorInfo>;
  readonly place: LayerPlace;
  /** The base's tensor. */
  readonly weight: { readonly base: Checkpoint; readonly info: TensorInfo };
  /** Rows of the tensor (see `FoldedTensor.rowLength`) that it changes; absent: all. */
  readonly rows?: { readonly start: number; readonly end: number };
}

/** What happens to a tensor, in order. */
export type FoldOperation =
  | { readonly kind: "replace"; readonly adapter: Adapter; readonly tensor: TensorInfo }
  | { readonly kind: "weight"; readonly step: FoldStep }
  | { readonly kind: "bias"; readonly step: FoldStep };

/** A tensor of the folded model. */
export interface FoldedTensor {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** Where its values start: the base's tensor, or an adapter's that takes its place. */
  readonly source: { readonly checkpoint: Checkpoint; readonly info: TensorInfo };
  readonly operations: readonly Exclude<FoldOperation, { kind: "replace" }>[];
  /** Elements of a row: what follows the first axis, or the last axis where a tensor holds the matrices of experts. */
  readonly rowLength: number;
  /** Tiles are whole multiples of this many rows; Infinity: only the whole tensor. */
  readonly rowMultiple: number;
}

/** What folding will do, decided from headers alone. */
export interface FoldPlan {
  readonly base: Checkpoint;
  readonly adapters: readonly Adapter[];
  /** In the base's order, then what adapters add. */
  readonly tensors: ReadonlyMap<string, FoldedTensor>;
  /** Changes to the base's config.json. */
  readonly config: Readonly<Record<string, unknown>>;
  readonly warnings: readonly string[];
}

export interface FoldPlanOptions {
  /** dtype of every floating-point tensor of the result; default: each tensor keeps the base's. */
  readonly dtype?: "float64" | "float32" | "float16" | "bfloat16";
}

/** The base model as planning sees it. */
export interface FoldBase {
  readonly checkpoint: Checkpoint;
  /** Its config.json; decides how GPT-2's layers are stored and whether embeddings are tied. */
  readonly config?: Readonly<Record<string, unknown>>;
}

/**
 * Decides what becomes of every tensor when `adapters` are folded into a base in this order. Reads no data. Throws
 * named errors for names and shapes that do not fit; what is odd but possible is a warning.
 */
export function planFold(base: FoldBase, adapters: readonly Adapter[], options: FoldPlanOptions = {}): FoldPlan {
  if (adapters.length === 0) {
    throw new LoomweightError({ code: "MISSING_OPTION", problem: "there is no adapter to fold", option: "adapters" });
  }
  const { checkpoint, config = {} } = base;
  const operations = new Map<string, FoldOperation[]>();
  const added = new Map<string, TensorInfo>();
  const warnings: string[] = [];
  const changes: Record<string, unknown> = {};
  const embedding = tiedEmbedding(checkpoint, config);
  const addOperation = (name: string, operation: FoldOperation) => {
    const list = operations.get(name);
    if (list === undefined) operations.set(name, [operation]);
    else list.push(operation);
  };

  for (const adapter of adapters) {
    warnings.push(...adapter.warnings);
    const weightOf = (path: string): TensorInfo | undefined =>
      checkpoint.tensors.get(`${path}.weight`) ?? (isHead(path) ? embedding : undefined);
    const paths = mapPaths(checkpoint, adapter, (path, trained) =>
      adapter.wrapped?.modules.has(trained) && !adapter.modules.has(trained)
        ? hasWrapped(checkpoint, adapter.wrapped, trained, path)
        : weightOf(path) !== undefined,
    );
    if (paths.note !== undefined) warnings.push(`${adapter.location}: modules found in the base under ${paths.note}`);

    for (const [path, tensor] of adapter.replacements) {
      const name = locateReplacement(checkpoint, paths, path);
      addReplacement(checkpoint, adapter, name, tensor, added, warnings);
      addOperation(name, { kind: "replace", adapter, tensor });
      if (name === embedding?.name) {
        warnings.push(
          `${adapter.location}: "${name}" serves as input embedding and as output head; the saved one takes the place of both`,
        );
      }
      if (isHead(name.replace(/\.weight$/, "")) && !checkpoint.tensors.has(name) && embedding !== undefined) {
        changes.tie_word_embeddings = false;
        warnings.push(
          `${adapter.location}: the output head was trained apart from the embedding it shared: stored on its own, "tie_word_embeddings" becomes false`,
        );
      }
    }
    for (const step of fitModules(adapter, modulesOf(checkpoint, adapter, paths), checkpoint, config, (path) =>
      weightOf(paths.toBase(path)),
    )) {
      const { layer, method, module, shapes, weight } = step;
      const path = paths.toBase(module.path);
      if (method.weight === undefined && method.bias === undefined) {
        throw new LoomweightError({
          code: "UNSUPPORTED_ADAPTER",
          problem: `${method.name} has no form as a weight and cannot be folded`,
          file: adapter.location,
        });
      }
      if (method.weight !== undefined) {
        addOperation(weight.info.name, { kind: "weight", step });
        if (weight.info === embedding) {
          warnings.push(
            `${adapter.location}: "${weight.info.name}" serves as input embedding and as output head; the adapter of "${module.path}" changes both once folded`,
          );
        }
      }
      const { bias } = method;
      if (bias?.needs.every((param) => Object.hasOwn(shapes, param))) {
        const missing = bias.missingFor?.(module.options) ?? bias.missing;
        const found = biasOf(checkpoint, adapter, path, layer, missing === "skip");
        if (found !== undefined) addOperation(found.name, { kind: "bias", step });
      }
    }
    for (const { tensor, step } of wrappedSteps(adapter, checkpoint, config, paths)) {
      addOperation(tensor, { kind: "weight", step });
    }
    warnings.push(...missedTargets(checkpoint, adapter, paths), ...otherBase(checkpoint, config, adapter));
  }

  const tensors = new Map<string, FoldedTensor>();
  for (const info of [...checkpoint.tensors.values(), ...added.values()]) {
    const name = info.name;
    tensors.set(name, describeTensor(name, checkpoint, operations.get(name) ?? [], options));
  }
  if (options.dtype !== undefined) Object.assign(changes, dtypeChange(config, options.dtype));
  return { base: checkpoint, adapters, tensors, config: changes, warnings: [...new Set(warnings)] };
}

function isHead(path: string): boolean {
  return path === "lm_head" || path.endsWith(".lm_head");
}

/** The input embedding that also serves as output head: nothing else stores one. */
function tiedEmbedding(base: Checkpoint, config: Readonly<Record<string, unknown>>): TensorInfo | undefined {
  const names = [...base.tensors.keys()];
  if (config.tie_word_embeddings === false || names.some((name) => isHead(name.replace(/\.weight$/, ""))))
    return undefined;
  const isLanguageModel =
    config.tie_word_embeddings === true ||
    (Array.isArray(config.architectures) &&
      config.architectures.some((name) => /LMHead|ForCausalLM|ForConditional/.test(String(name))));
  if (!isLanguageModel) return undefined;
  const found = names.find((name) =>
    /(^|\.)(embed_tokens|wte|shared|word_embeddings|tok_embeddings)\.weight$/.test(name),
  );
  return found === undefined ? undefined : base.tensors.get(found);
}

/** Name of the base tensor that a stored one replaces; a new one gets the name the other modules' paths suggest. */
function locateReplacement(base: Checkpoint, paths: PathMap, path: string): string {
  const mapped = paths.toBase(path);
  if (base.tensors.has(mapped)) return mapped;
  return base.tensors.has(path) ? path : path === mapped || !mapped.includes(path) ? mapped : path;
}

function addReplacement(
  base: Checkpoint,
  adapter: Adapter,
  name: string,
  tensor: TensorInfo,
  added: Map<string, TensorInfo>,
  warnings: string[],
): void {
  const known = base.tensors.get(name) ?? added.get(name);
  if (known === undefined) {
    if (name.endsWith(".bias") && !adapter.targets.isSaved(name.slice(0, -".bias".length))) {
      throw new LoomweightError({
        code: "UNKNOWN_TENSOR",
        problem: "the adapter stores a bias that the base model does not have",
        file: tensor.file,
        tensor: tensor.name,
        expected: `"${name}" in ${base.location}`,
      });
    }
    added.set(name, { ...tensor, name });
    if (!isHead(name.replace(/\.weight$/, "")))
      warnings.push(`${adapter.location}: adds "${name}", which the base model does not have`);
    return;
  }
  if (known.shape.length === tensor.shape.length && known.shape.every((size, axis) => size === tensor.shape[axis]))
    return;
  const resized = known.shape.length === 2 && tensor.shape.length === 2 && known.shape[1] === tensor.shape[1];
  throw shapeMismatch({
    where: adapter.location,
    tensor: tensor.name,
    expected: { from: `the base (${known.file})`, shape: known.shape },
    got: { from: tensor.file, shape: tensor.shape },
    fix: resized
      ? "The vocabulary was resized for training: resize the base's embeddings the same way first."
      : "The adapter belongs to another base model.",
  });
}

function biasOf(
  base: Checkpoint,
  adapter: Adapter,
  path: string,
  layer: LayerShape,
  skip: boolean,
): TensorInfo | undefined {
  const bias = base.tensors.get(`${path}.bias`);
  if (bias === undefined) {
    if (skip) return undefined;
    throw new LoomweightError({
      code: "MISSING_TENSOR",
      problem: `the adapter changes the bias of "${path}", which the base model does not have`,
      file: adapter.location,
      expected: `"${path}.bias" in ${base.location}`,
    });
  }
  if (bias.shape.length === 1 && bias.shape[0] === layer.out && isFloat(bias.dtype)) return bias;
  throw shapeMismatch({
    where: adapter.location,
    tensor: bias.name,
    expected: { from: "the layer", shape: [layer.out] },
    got: { from: bias.file, shape: bias.shape },
  });
}

/** The adapted modules: those of the file, or all that its target fields select in the base. */
function modulesOf(base: Checkpoint, adapter: Adapter, paths: PathMap): AdaptedModule[] {
  const modules = [...adapter.modules.values()];
  if (adapter.implied === undefined) return modules;
  for (const { name, shape } of base.tensors.values()) {
    if (shape.length < 2 || !name.endsWith(".weight")) continue;
    const path = paths.fromBase(name.slice(0, -".weight".length));
    if (path === undefined || adapter.modules.has(path) || !adapter.targets.isTarget(path)) continue;
    const options = adapter.implied.optionsOf(path);
    modules.push({ path, method: adapter.method, kind: undefined, options, params: new Map() });
  }
  if (modules.length > 0) return modules;
  throw new LoomweightError({
    code: "UNKNOWN_TENSOR",
    problem: "the adapter changes no module of this base model",
    file: adapter.location,
    expected: `a module of target_modules: ${adapter.targets.entries.slice(0, 8).join(", ").slice(0, 300)}`,
    fix: "The adapter belongs to another base model.",
  });
}

/** Modules that the configuration selects and the file lacks: PEFT leaves them as they are, and so does folding. */
function missedTargets(base: Checkpoint, adapter: Adapter, paths: PathMap): string[] {
  if (adapter.implied !== undefined || adapter.targets.entries.length === 0) return [];
  const missed: string[] = [];
  for (const { name, shape } of base.tensors.values()) {
    if (shape.length < 2 || !name.endsWith(".weight")) continue;
    const path = paths.fromBase(name.slice(0, -".weight".length));
    if (path !== undefined && !adapter.modules.has(path) && adapter.targets.isTarget(path)) missed.push(path);
  }
  if (missed.length === 0) return [];
  return [
    `${adapter.location}: ${missed.length} selected ${missed.length === 1 ? "module has" : "modules have"} no tensors in the file and ${missed.length === 1 ? "stays" : "stay"} as in the base: ${missed.slice(0, 3).join(", ")}${missed.length > 3 ? ", …" : ""}`,
  ];
}

function otherBase(base: Checkpoint, config: Readonly<Record<string, unknown>>, adapter: Adapter): string[] {
  const wanted = adapter.config.values.base_model_name_or_path;
  if (typeof wanted !== "string" || wanted === "") return [];
  const parts = (path: string) => path.split(/[\\/]+/).filter((part) => part !== "");
  const last = parts(wanted).pop() ?? "";
  const ours = [base.location, config._name_or_path].filter((name): name is string => typeof name === "string");
  const hubFolder = `models--${wanted.replaceAll("/", "--")}`;
  if (ours.some((name) => name === wanted || parts(name).some((part) => part === last || part === hubFolder)))
    return [];
  return [`${adapter.location}: trained on "${wanted}", folded into ${base.location}`];
}

function describeTensor(
  name: string,
  base: Checkpoint,
  operations: readonly FoldOperation[],
  options: FoldPlanOptions,
): FoldedTensor {
  const own = base.tensors.get(name);
  let source = own === undefined ? undefined : { checkpoint: base, info: own };
  let rest: Exclude<FoldOperation, { kind: "replace" }>[] = [];
  for (const operation of operations) {
    if (operation.kind === "replace") {
      source = { checkpoint: operation.adapter.checkpoint, info: operation.tensor };
      rest = [];
    } else rest.push(operation);
  }
  if (source === undefined)
    throw new LoomweightError({ code: "INTERNAL", problem: "a tensor without source", tensor: name });
  const kept = own?.dtype ?? source.info.dtype;
  const dtype = options.dtype !== undefined && isFloat(kept) ? options.dtype : kept;
  const { shape } = source.info;
  const rowMultiple = rest.reduce((multiple, operation) => leastCommonMultiple(multiple, multipleOf(operation)), 1);
  const hasParts = rest.some((operation) => operation.step.rows !== undefined);
  const rowLength = Math.max(1, elementCount(shape.slice(hasParts ? -1 : 1)));
  return { name, dtype, shape, source, operations: rest, rowLength, rowMultiple };
}

function multipleOf(operation: Exclude<FoldOperation, { kind: "replace" }>): number {
  if (operation.kind === "bias") return 1;
  const { method, layer, module } = operation.step;
  return method.tiling?.(layer, module.options)[storedAxis(layer)] ?? Number.POSITIVE_INFINITY;
}

function leastCommonMultiple(a: number, b: number): number {
  if (!Number.isFinite(a) || !Number.isFinite(b)) return Number.POSITIVE_INFINITY;
  let [x, y] = [a, b];
  while (y > 0) [x, y] = [y, x % y];
  return (a / x) * b;
}

/** Rows of a tensor; a scalar is one. */
export function rowsOf({ shape, rowLength }: Pick<FoldedTensor, "shape" | "rowLength">): number {
  return elementCount(shape) / rowLength;
}

function dtypeChange(config: Readonly<Record<string, unknown>>, dtype: string): Record<string, unknown> {
  const names = ["dtype", "torch_dtype"].filter((name) => config[name] !== undefined);
  return Object.fromEntries((names.length > 0 ? names : ["torch_dtype"]).map((name) => [name, dtype]));
}
