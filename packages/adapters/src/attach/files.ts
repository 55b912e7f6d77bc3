import { contiguousData, fromData, LoomweightError, parseOptions, type Tensor } from "@loomweight/tensor";
import type { PeftConfig } from "../peft/format.ts";
import { type NewModule, newAdapterFiles } from "../peft/new-adapter.ts";
import type { AdapterFiles } from "../peft/write-adapter.ts";
import type { AttachedAdapter, Attachment, SavedTensor } from "./attach.ts";
import { blockFiles } from "./block-files.ts";
import { adapterNamed } from "./choose.ts";
import { turned } from "./saved.ts";

export interface AttachedFilesOptions {
  /** Which adapter; default the first. */
  readonly adapter?: string;
  /** Values of the attachment's parameters; default the first values. */
  readonly parameters?: Readonly<Record<string, Tensor>>;
  /** Further fields of adapter_config.json: base_model_name_or_path, task_type. */
  readonly config?: PeftConfig;
  /** Put before the paths of modules, where the base was stored without it: "transformer.". */
  readonly prefix?: string;
}

/**
 * The files of an attached adapter: PEFT's of one that changes layers, and of one that changes what modules compute a
 * folder of the same layout that `openBlockAdapter` reads. Throws `UNKNOWN_ADAPTER`, `MISSING_TENSOR` and what
 * `newAdapterFiles` throws.
 */
export function attachedFiles(attachment: Attachment, options: AttachedFilesOptions = {}): AdapterFiles {
  const { prefix = "", parameters = attachment.parameters } = options;
  const all = [...attachment.adapters, ...attachment.blocks];
  const adapter = options.adapter === undefined ? all[0] : adapterNamed(all, options.adapter);
  const tensorNamed = (name: string): Tensor => {
    if (Object.hasOwn(attachment.constants, name)) return attachment.constants[name];
    if (Object.hasOwn(parameters, name)) return parameters[name];
    throw new LoomweightError({
      code: "MISSING_TENSOR",
      problem: "a parameter of the adapter is not given",
      tensor: name,
    });
  };
  const savedNow = (owner: string, nameOf: (saved: SavedTensor) => string): Map<string, Tensor> => {
    const own = attachment.saved.filter((each) => each.adapter === owner);
    return new Map(
      own.map((each) => {
        const value = tensorNamed(each.name);
        return [nameOf(each), each.transposed ? packed(turned(value)) : value];
      }),
    );
  };
  if ("sites" in adapter) {
    const own = Object.fromEntries(Object.entries(adapter.names).map(([key, name]) => [key, tensorNamed(name)]));
    return blockFiles(adapter, { own, saved: savedNow(adapter.name, ({ path }) => path), config: options.config });
  }
  const modules = new Map<string, NewModule>();
  const { converted } = adapter.method.files;
  const conversion = converted?.isNeeded(adapter.options) ? converted : undefined;
  for (const { path, layer, names, files } of adapter.modules.values()) {
    const own = adapter.ownOptions(path);
    const named = (which: readonly string[]) =>
      Object.fromEntries(which.map((param) => [param, tensorNamed(names[param])]));
    modules.set(`${prefix}${path}`, {
      layer,
      params: conversion?.params(named(Object.keys(names))) ?? named(files),
      options: conversion?.options(whole(adapter, own)) ?? own,
    });
  }
  const replacements = savedNow(adapter.name, ({ path }) => {
    const isAdaptedBias = path.endsWith(".bias") && adapter.modules.has(path.slice(0, -".bias".length));
    return `${prefix}${isAdaptedBias ? `${path.slice(0, -".bias".length)}.base_layer.bias` : path}`;
  });
  const { modules_to_save, bias, task_type, ...selected } = adapter.selection;
  const dropout = Object.keys(adapter.method.files.fields).find((field) => field.endsWith("_dropout"));
  return newAdapterFiles({
    method: adapter.method,
    options: conversion?.options(whole(adapter, {})) ?? adapter.options,
    modules,
    replacements,
    shared: new Map(Object.entries(adapter.shared).map(([key, name]) => [key, tensorNamed(name)])),
    config: {
      modules_to_save,
      bias,
      task_type,
      ...(dropout === undefined ? {} : { [dropout]: adapter.dropout }),
      ...(prefix === "" ? selected : {}), // else every module by its path
      ...options.config,
    },
  });
}

/** Every option of an adapter's module. */
function whole({ method, options }: AttachedAdapter, own: Readonly<Record<string, unknown>>) {
  return parseOptions(method.options, { ...options, ...own }, method.name) as Readonly<Record<string, unknown>>;
}

function packed(tensor: Tensor): Tensor {
  return fromData(tensor.dtype, contiguousData(tensor), tensor.shape) as Tensor;
}
