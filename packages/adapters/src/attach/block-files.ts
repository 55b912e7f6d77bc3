import { type FileSet, openWeights, parseJsonObject, writeSafetensors } from "@loomweight/checkpoint";
import { isFloat, LoomweightError, parseOptions, type Tensor, toFloat64, unknownName } from "@loomweight/tensor";
import { blockMethods } from "../block-catalogue.ts";
import type { BlockMethod } from "../define-block.ts";
import type { Adapter } from "../peft/adapter.ts";
import type { PeftConfig } from "../peft/format.ts";
import {
  configFile,
  keyPrefix,
  maximalConfigBytes,
  openAdapter,
  type ReadAdapterOptions,
  weightsFile,
} from "../peft/read-adapter.ts";
import type { AdapterFiles } from "../peft/write-adapter.ts";
import type { BlockSite } from "./block-sites.ts";
import type { AttachedBlocks, BlockAdapterSpec } from "./blocks.ts";

// A folder of an adapter of block scope has PEFT's two files, but PEFT knows no such types:
// adapter_config.json: adapter_type (the method's name), options (all), sites (paths, or modules by the names of their
// values), modules_to_save, task_type, and what the caller adds (base_model_name_or_path).
// adapter_model.safetensors: "<path>.<parameter>", "shared.<parameter>", and whole tensors as PEFT names them,
// "base_model.model.<name>".

/** The two files of an adapter of block scope; `saved` are whole tensors by their names in the checkpoint. */
export function blockFiles(
  { method, options, named, modulesToSave, taskType }: AttachedBlocks,
  tensors: {
    readonly own: Readonly<Record<string, Tensor>>;
    readonly saved: ReadonlyMap<string, Tensor>;
    readonly config?: PeftConfig;
  },
): AdapterFiles {
  const all = new Map(Object.entries(tensors.own));
  for (const [name, tensor] of tensors.saved) all.set(`${keyPrefix}${name}`, tensor);
  const sites = named.map((site) => {
    if (typeof site === "string") return site;
    const { path, input, output, residual, position } = site;
    return { path, input, output, residual, position };
  });
  const config = {
    adapter_type: method.name,
    options,
    sites,
    ...(modulesToSave.length > 0 && { modules_to_save: modulesToSave }),
    ...(taskType !== undefined && { task_type: taskType }),
    ...tensors.config,
  };
  return {
    config: `${JSON.stringify(config, null, 2)}\n`,
    weights: writeSafetensors(new Map([...all].sort(([a], [b]) => (a < b ? -1 : 1))), { metadata: { format: "pt" } }),
  };
}

export interface ReadBlockOptions {
  /** Which methods files may ask for; default all. */
  readonly methods?: readonly BlockMethod[];
}

/** What `attach` takes, from a folder of either kind: PEFT's, or one of an adapter of block scope. Throws as `openAdapter` and `openBlockAdapter`. */
export async function openAnyAdapter(
  files: FileSet,
  options: ReadAdapterOptions & { readonly blockMethods?: readonly BlockMethod[] } = {},
): Promise<Adapter | BlockAdapterSpec> {
  const config = await files.open(configFile);
  const bytes = await config?.read(0, Math.min(config.size, maximalConfigBytes)).finally(() => config.close());
  const parsed = bytes === undefined ? {} : parseJsonObject(bytes, configFile, { duplicates: "last" });
  const isBlock = typeof parsed.adapter_type === "string" && parsed.peft_type === undefined;
  return isBlock ? openBlockAdapter(files, { methods: options.blockMethods }) : openAdapter(files, options);
}

/**
 * The folder of an adapter of block scope, to be handed to `attach`, which checks it against the graph. Throws
 * `MISSING_FILE`, `UNKNOWN_METHOD` with the closest name, `INVALID_OPTION`, `UNKNOWN_OPTION`, `INVALID_ADAPTER`,
 * `UNSUPPORTED_DTYPE`, `NON_FINITE`, and what the readers of JSON and safetensors throw.
 */
export async function openBlockAdapter(files: FileSet, options: ReadBlockOptions = {}): Promise<BlockAdapterSpec> {
  const { methods = blockMethods } = options;
  const opened = await files.open(configFile);
  if (opened === undefined) throw missing(files, configFile);
  const file = opened.name;
  const bytes = await opened.read(0, Math.min(opened.size, maximalConfigBytes)).finally(() => opened.close());
  const config = parseJsonObject(bytes, file);
  const name = String(config.adapter_type ?? config.peft_type ?? "");
  const method = methods.find((each) => each.name === name);
  if (method === undefined) {
    const known = methods.map((each) => each.name);
    throw unknownName({ kind: "adapter_type", name, known, code: "UNKNOWN_METHOD", file });
  }
  if (!files.names.includes(weightsFile)) throw missing(files, weightsFile);
  const checkpoint = await openWeights(files, weightsFile);
  const parameters: Record<string, Tensor> = {};
  const saved: Record<string, Tensor> = {};
  try {
    for (const key of checkpoint.tensors.keys()) {
      const tensor = await checkpoint.read(key);
      requireNumbers(tensor, key, checkpoint.location);
      if (key.startsWith(keyPrefix)) saved[key.slice(keyPrefix.length)] = tensor;
      else parameters[key] = tensor;
    }
  } finally {
    await checkpoint.close();
  }
  const given = config.options === undefined ? {} : config.options;
  if (!isRecord(given)) throw invalid(file, "options", "an object", given);
  return {
    method,
    options: parseOptions(method.options, given, method.name, { file }),
    sites: sitesOf(config.sites, file),
    modulesToSave: namesOf(config.modules_to_save, file),
    taskType: typeof config.task_type === "string" ? config.task_type : undefined,
    parameters,
    saved,
  };
}

function requireNumbers(tensor: Tensor, name: string, file: string): void {
  if (!isFloat(tensor.dtype)) {
    throw new LoomweightError({
      code: "UNSUPPORTED_DTYPE",
      problem: "the adapter's numbers are no floats",
      file,
      tensor: name,
      expected: "float32",
      found: tensor.dtype,
    });
  }
  if (toFloat64(tensor).every(Number.isFinite)) return;
  throw new LoomweightError({
    code: "NON_FINITE",
    problem: "the adapter holds NaN or infinity",
    file,
    tensor: name,
  });
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

function namesOf(value: unknown, file: string): readonly string[] {
  if (value === undefined || value === null) return [];
  if (Array.isArray(value) && value.every((each) => typeof each === "string")) return value;
  throw invalid(file, "modules_to_save", "a list of names", value);
}

function sitesOf(value: unknown, file: string): (string | BlockSite)[] {
  const list: readonly unknown[] = Array.isArray(value) ? value : [];
  const sites = list.flatMap((each: unknown): readonly (string | BlockSite)[] => {
    if (typeof each === "string") return [each];
    if (!isRecord(each)) return [];
    const named = ["path", "input", "output"].every((key) => typeof each[key] === "string");
    const optional = ["residual", "position"].every((key) => each[key] === undefined || typeof each[key] === "string");
    return named && optional ? [each as unknown as BlockSite] : [];
  });
  if (sites.length > 0 && sites.length === list.length) return sites;
  throw invalid(file, "sites", "a list of paths, or of { path, input, output, residual }", value);
}

function invalid(file: string, option: string, expected: string, value: unknown): LoomweightError {
  return new LoomweightError({
    code: "INVALID_ADAPTER",
    problem: `${option} cannot be read`,
    file,
    option,
    expected,
    found: JSON.stringify(value)?.slice(0, 80) ?? "nothing",
  });
}

function missing(files: FileSet, name: string): LoomweightError {
  return new LoomweightError({
    code: "MISSING_FILE",
    problem: `the adapter's folder has no ${name}`,
    file: files.location,
    expected: `${configFile} and ${weightsFile}`,
    found: files.names.length === 0 ? "an empty folder" : files.names.slice(0, 6).join(", "),
  });
}
