import { type Checkpoint, type FileSet, openWeights, parseJsonObject, type TensorInfo } from "@loomweight/checkpoint";
import {
  isFloat,
  LoomweightError,
  type OptionSpecs,
  type OptionValues,
  parseOptions,
  unknownName,
} from "@loomweight/tensor";
import { adapterMethods } from "../catalogue.ts";
import type { AdapterMethod } from "../define.ts";
import type { LayerKind } from "../layer.ts";
import type { AdaptedModule, Adapter } from "./adapter.ts";
import { type AdapterConfig, checkAdapterConfig } from "./config.ts";
import type { KeySuffix, PeftConfig } from "./format.ts";
import { readPatterns, readTargets, type Targets } from "./targets.ts";
import { createWrapperDrafts, isTargetParameter, readTargetParameters } from "./wrapped.ts";

/** In front of every key of an adapter's file. */
export const keyPrefix = "base_model.model.";
export const configFile = "adapter_config.json";
export const weightsFile = "adapter_model.safetensors";
export const maximalConfigBytes = 16_000_000;

export interface ReadAdapterOptions {
  /** Which methods files may ask for; default all. */
  readonly methods?: readonly AdapterMethod[];
}

/**
 * Opens a PEFT folder: adapter_config.json and adapter_model.safetensors. Only headers are read.
 * Throws `MISSING_FILE`, `UNSUPPORTED_FORMAT` and what `readAdapter` throws.
 */
export async function openAdapter(files: FileSet, options: ReadAdapterOptions = {}): Promise<Adapter> {
  const config = await files.open(configFile);
  if (config === undefined) throw missingFile(files, configFile);
  let bytes: Uint8Array;
  try {
    if (config.size > maximalConfigBytes) {
      throw new LoomweightError({
        code: "FILE_TOO_LARGE",
        problem: "the configuration is too large",
        file: config.name,
        expected: `at most ${maximalConfigBytes} bytes`,
        found: String(config.size),
      });
    }
    bytes = await config.read(0, config.size);
  } finally {
    await config.close();
  }
  const parsed = parseJsonObject(bytes, config.name, { duplicates: "last" }) as PeftConfig;
  // The type decides first: what is not built is said before weights are looked for.
  const checked = checkAdapterConfig(parsed, config.name, options.methods ?? adapterMethods);
  if (!files.names.includes(weightsFile)) throw missingFile(files, weightsFile);
  const checkpoint = await openWeights(files, weightsFile);
  try {
    return describeAdapter(checked, config.name, checkpoint, files.location);
  } catch (error) {
    await checkpoint.close();
    throw error;
  }
}

/** An adapter from its parsed configuration and its tensors, wherever they come from. */
export function readAdapter(
  config: PeftConfig,
  checkpoint: Checkpoint,
  options: ReadAdapterOptions & { readonly file?: string } = {},
): Adapter {
  const file = options.file ?? configFile;
  const checked = checkAdapterConfig(config, file, options.methods ?? adapterMethods);
  return describeAdapter(checked, file, checkpoint, checkpoint.location);
}

function missingFile(files: FileSet, name: string): LoomweightError {
  const pickle = files.names.find((each) => /^adapter_model\.(bin|pt|pth)$/.test(each));
  if (name === weightsFile && pickle !== undefined) {
    return new LoomweightError({
      code: "UNSUPPORTED_FORMAT",
      problem: `the adapter's weights are a pickle (${pickle}), which can run code when it is opened`,
      file: files.location,
      expected: weightsFile,
      fix: "Save it again with safe_serialization=True.",
    });
  }
  const isModel = name === configFile && files.names.includes("config.json");
  return new LoomweightError({
    code: "MISSING_FILE",
    problem: isModel ? "this folder holds a model, not an adapter" : `the adapter's folder has no ${name}`,
    file: files.location,
    expected: `${configFile} and ${weightsFile}`,
    found: files.names.length === 0 ? "an empty folder" : files.names.slice(0, 6).join(", "),
    fix: "Give the folder that PEFT's save_pretrained wrote; an adapter with a name of its own lies in a subfolder of that name.",
  });
}

interface Draft {
  readonly method: AdapterMethod;
  kind: LayerKind | undefined;
  params: Map<string, TensorInfo>;
}

function describeAdapter(config: AdapterConfig, file: string, checkpoint: Checkpoint, location: string): Adapter {
  const { method, values } = config;
  const format = method.files;
  const targetFields = format.readTargets === undefined ? values : { ...values, ...format.readTargets(values) };
  const parameters = readTargetParameters(values, method, file);
  const targets = readTargets(
    targetFields,
    file,
    format.biasOfAdapted,
    format.readTargets !== undefined,
    parameters !== undefined,
  );
  const wrappers = createWrapperDrafts(targets.isTarget);
  const drafts = new Map<string, Draft>();
  const replacements = new Map<string, TensorInfo>();
  const shared = new Map<string, TensorInfo>();
  const ignored: string[] = [];

  for (const info of checkpoint.tensors.values()) {
    const key = info.name;
    const common = sharedKey(key, format.shared);
    if (common !== undefined) {
      shared.set(common, info);
      continue;
    }
    if (!key.startsWith(keyPrefix)) throw unknownKey(info, config, targets, undefined);
    const path = key.slice(keyPrefix.length);
    if (parameters !== undefined && wrappers.take(path, info)) {
      if (!isFloat(info.dtype)) throw wrongDType(info);
      continue;
    }
    const part = paramOf(path, method);
    if (part !== undefined) {
      if (part.method === method && !targets.isTarget(part.module)) throw untargeted(info, part.module, targets, file);
      addParam(drafts, part, info);
      continue;
    }
    if (path.endsWith(".base_layer.weight")) {
      ignored.push(key); // the base's own weight beside an adapted embedding
      continue;
    }
    const replaced = replacedTensor(path, targets);
    if (replaced === undefined) throw unknownKey(info, config, targets, path);
    if (replacements.has(replaced)) throw twice(info, replaced);
    if (!isFloat(info.dtype)) throw wrongDType(info);
    replacements.set(replaced, info);
  }

  const optionsOf = new Map<AdapterMethod, (path: string) => OptionValues<OptionSpecs>>();
  for (const each of [method, ...(format.companions ?? [])]) {
    if (each === method || [...drafts.values()].some((draft) => draft.method === each))
      optionsOf.set(each, moduleOptions(each, values, file));
  }
  const modules = new Map<string, AdaptedModule>();
  for (const [path, { method: own, kind, params }] of drafts) {
    const read = optionsOf.get(own) as (path: string) => OptionValues<OptionSpecs>;
    modules.set(path, { path, method: own, kind, options: read(path), params });
  }
  const implied = format.modules === "targets";
  const wrapped = wrappers.finish(file);
  if (parameters !== undefined && wrapped.size === 0) {
    throw new LoomweightError({
      code: "MISSING_TENSOR",
      problem: "the file holds no factors of the parameters that target_parameters names",
      file: location,
      option: "target_parameters",
      expected: `lora_A and lora_B of the module that holds ${parameters.slice(0, 4).join(", ")}`,
      fix: "The configuration and the weights belong to different adapters, or one of them was edited.",
    });
  }
  if (modules.size + wrapped.size + replacements.size === 0 && !(implied && shared.size > 0)) {
    throw new LoomweightError({
      code: "EMPTY_ADAPTER",
      problem: "the adapter's file holds no tensors",
      file: location,
    });
  }
  const warnings = [...config.warnings];
  if (targets.entries.length > 0 && !isPatternTarget(targetFields) && !implied) {
    const known = endings(modules.keys());
    const unused = targets.entries.filter((entry) => !known.has(entry));
    if (unused.length > 0)
      warnings.push(`${file}: target_modules ${unused.slice(0, 5).join(", ")} match no tensor of the adapter`);
  }
  return {
    location,
    config,
    method,
    targets,
    modules,
    implied: implied ? { optionsOf: optionsOf.get(method) as (path: string) => OptionValues<OptionSpecs> } : undefined,
    wrapped:
      parameters === undefined
        ? undefined
        : {
            entries: parameters,
            isTarget: (name) => isTargetParameter(parameters, name),
            modules: wrapped,
            optionsOf: optionsOf.get(method) as (path: string) => OptionValues<OptionSpecs>,
          },
    shared,
    replacements,
    ignored,
    checkpoint,
    warnings,
  };
}

/** What follows `base_model.` where a key is one of the type's shared tensors. */
function sharedKey(key: string, names: readonly string[] = []): string | undefined {
  if (names.length === 0 || !key.startsWith("base_model.")) return undefined;
  const rest = key.slice("base_model.".length);
  return names.some((name) => numberIn(name.replace(/\*$/, ""), rest, name.endsWith("*")) !== undefined)
    ? rest
    : undefined;
}

/** The number that stands for a pattern's `#`; "" where it has none, undefined where the text is not of that form. */
function numberIn(pattern: string, text: string, open = false): string | undefined {
  const at = pattern.indexOf("#");
  if (at < 0) return (open ? text.startsWith(pattern) : text === pattern) ? "" : undefined;
  const [before, after] = [pattern.slice(0, at), pattern.slice(at + 1)];
  const number = text.startsWith(before) ? /^\d{1,6}/.exec(text.slice(at))?.[0] : undefined;
  if (number === undefined) return undefined;
  const rest = text.slice(at + number.length);
  return (open ? rest.startsWith(after) : rest === after) ? number : undefined;
}

/** Every path and every end of it that begins after a dot. */
function endings(paths: Iterable<string>): Set<string> {
  const all = new Set<string>();
  for (const path of paths) {
    for (let begin = 0; ; begin++) {
      all.add(path.slice(begin));
      begin = path.indexOf(".", begin);
      if (begin < 0) break;
    }
  }
  return all;
}

function isPatternTarget(values: PeftConfig): boolean {
  return typeof values.target_modules === "string";
}

interface KeyPart {
  readonly method: AdapterMethod;
  readonly module: string;
  readonly param: string;
  readonly suffix: KeySuffix<string>;
}

/** The module and parameter of a key, by the suffixes of the method and its companions; the longest suffix counts. */
function paramOf(path: string, main: AdapterMethod): KeyPart | undefined {
  let found: (KeyPart & { length: number }) | undefined;
  const parts = path.split(".");
  for (const method of [main, ...(main.files.companions ?? [])]) {
    for (const [name, suffix] of Object.entries(method.files.suffixes)) {
      const count = name.split(".").length;
      if (count >= parts.length) continue;
      const tail = parts.slice(-count).join(".");
      const number = numberIn(name, tail);
      if (number === undefined || (found !== undefined && found.length >= tail.length)) continue;
      const param = number === "" ? suffix.param : suffix.param.replace("#", number);
      found = { method, module: parts.slice(0, -count).join("."), param, suffix, length: tail.length };
    }
  }
  return found;
}

function addParam(drafts: Map<string, Draft>, { method, module, param, suffix }: KeyPart, info: TensorInfo): void {
  if (suffix.integer === true) {
    if (!isFloat(info.dtype) && !isInteger(info.dtype)) throw wrongDType(info, "whole numbers");
  } else if (!isFloat(info.dtype)) throw wrongDType(info);
  const draft = drafts.get(module) ?? { method, kind: undefined, params: new Map<string, TensorInfo>() };
  if (draft.method !== method) throw twice(info, `the module ${module} (${draft.method.name} and ${method.name})`);
  drafts.set(module, draft);
  if (draft.params.has(param)) throw twice(info, `${module} ${param}`);
  if (suffix.kind !== undefined) draft.kind = suffix.kind;
  draft.params.set(param, info);
}

/** The base tensor that a plain key replaces; undefined where nothing in the configuration asks for it. */
function replacedTensor(path: string, targets: Targets): string | undefined {
  if (targets.bias !== "none" && path.endsWith(".bias")) {
    if (path.endsWith(".base_layer.bias")) return `${path.slice(0, -".base_layer.bias".length)}.bias`;
    if (targets.bias === "all" || targets.isTarget(path.slice(0, -".bias".length))) return path;
  }
  if (targets.isSaved(path.slice(0, Math.max(0, path.lastIndexOf("."))))) return path;
  // PEFT saves embeddings whole when it finds them changed (a vocabulary that was resized).
  return /(^|\.)(embed_tokens|lm_head)\.weight$/.test(path) ? path : undefined;
}

/** The options of a module by its path: those of the whole file, what patterns replace, what the method adds. */
function moduleOptions(
  method: AdapterMethod,
  values: PeftConfig,
  file: string,
): (path: string) => OptionValues<OptionSpecs> {
  const format = method.files;
  const fields = format.optionFields;
  const raw: Record<string, unknown> = {};
  for (const [option, field] of Object.entries(fields)) raw[option] = values[field];
  Object.assign(raw, format.readOptions?.(values, file));
  const patterns = Object.entries(format.patterns ?? {}).map(([field, option]) => ({
    field,
    option,
    find: readPatterns(values[field], field, file),
  }));
  const fieldOf = (option: string) => fields[option] ?? option;
  const whole = checkOptions(method, raw, file, fieldOf);
  return (path) => {
    const own = patterns.flatMap(({ field, option, find }) => {
      const value = find(path);
      return value === undefined || value === null ? [] : [{ field, option, value }];
    });
    const more = format.moduleOptions?.(values, path, file);
    if (own.length === 0 && more === undefined) return whole;
    const replaced = { ...raw, ...Object.fromEntries(own.map(({ option, value }) => [option, value])), ...more };
    return checkOptions(method, replaced, file, (option) => {
      const pattern = own.find((each) => each.option === option);
      return pattern === undefined ? fieldOf(option) : `${pattern.field} (${path})`;
    });
  };
}

function checkOptions(
  method: AdapterMethod,
  raw: Readonly<Record<string, unknown>>,
  file: string,
  fieldOf: (option: string) => string,
): OptionValues<OptionSpecs> {
  try {
    return parseOptions(method.options, raw, method.name, { file });
  } catch (error) {
    if (!(error instanceof LoomweightError) || error.details.option === undefined) throw error;
    const option = error.details.option.slice(method.name.length + 1);
    throw new LoomweightError({ ...error.details, option: fieldOf(option), cause: error });
  }
}

function isInteger(dtype: string): boolean {
  return /^u?int\d+$/.test(dtype);
}

function wrongDType(info: TensorInfo, wanted = "floating-point numbers"): LoomweightError {
  return new LoomweightError({
    code: "UNSUPPORTED_DTYPE",
    problem:
      wanted === "floating-point numbers"
        ? "an adapter's tensors are floating-point numbers"
        : `this tensor of an adapter holds ${wanted}`,
    file: info.file,
    tensor: info.name,
    expected: wanted === "floating-point numbers" ? "float32, bfloat16, float16 or float64" : "an integer dtype",
    found: info.dtype,
  });
}

function twice(info: TensorInfo, what: string): LoomweightError {
  return new LoomweightError({
    code: "DUPLICATE_TENSOR",
    problem: `two tensors of the file stand for ${what}`,
    file: info.file,
    tensor: info.name,
  });
}

function untargeted(info: TensorInfo, module: string, targets: Targets, file: string): LoomweightError {
  return new LoomweightError({
    code: "UNEXPECTED_TENSOR",
    problem: `the file adapts the module "${module}", which ${file} does not select`,
    file: info.file,
    tensor: info.name,
    expected: `a module of target_modules: ${targets.entries.slice(0, 8).join(", ").slice(0, 300)}`,
    fix: "The configuration and the weights belong to different adapters, or one of them was edited.",
  });
}

function unknownKey(
  info: TensorInfo,
  config: AdapterConfig,
  targets: Targets,
  path: string | undefined,
): LoomweightError {
  const type = String(config.values.peft_type);
  const place = { file: info.file, tensor: info.name };
  if (path === undefined) {
    return new LoomweightError({
      code: "UNEXPECTED_TENSOR",
      problem: `a key of a ${type} adapter begins with "${keyPrefix}"`,
      ...place,
      fix: "Files of other tools (kohya, diffusers, mlx) have other names; convert them to PEFT's first.",
    });
  }
  const suffixes = Object.keys(config.method.files.suffixes);
  const last = path.split(".");
  const tail = last.slice(-2).join(".");
  const error = unknownName({
    kind: `tensor of a ${type} adapter (${config.method.name})`,
    name: tail,
    known: [...suffixes, "bias"],
    code: "UNEXPECTED_TENSOR",
  });
  return new LoomweightError({
    ...error.details,
    ...place,
    expected: `<module>.${suffixes.join(", <module>.")}`,
    fix:
      [
        error.details.fix,
        path.endsWith(".bias") && targets.bias === "none"
          ? `Biases are stored only where "bias" is not "none".`
          : undefined,
        tail.includes("magnitude") ? `DoRA's magnitudes need "use_dora": true.` : undefined,
      ]
        .filter((part) => part !== undefined)
        .join(" ") || undefined,
  });
}
