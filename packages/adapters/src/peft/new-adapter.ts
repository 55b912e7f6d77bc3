import { writeSafetensors } from "@loomweight/checkpoint";
import {
  contiguousData,
  fromData,
  LoomweightError,
  type OptionSpecs,
  type OptionValues,
  parseOptions,
  shapeMismatch,
  type Tensor,
} from "@loomweight/tensor";
import { type AdapterMethod, type ParamShape, paramShape } from "../define.ts";
import type { LayerShape } from "../layer.ts";
import { commonFields, targetFields } from "./fields.ts";
import type { Json, PeftConfig } from "./format.ts";
import { pythonJson } from "./python-json.ts";
import { keyPrefix } from "./read-adapter.ts";
import type { AdapterFiles } from "./write-adapter.ts";

/** One adapted module of an adapter that was made here. */
export interface NewModule {
  readonly layer: LayerShape;
  /** Parameters by the method's names, of the shapes that `method.params` gives. */
  readonly params: Readonly<Record<string, Tensor>>;
  /** Options of this module that differ from the adapter's: a rank of its own. Default none. */
  readonly options?: Readonly<Record<string, unknown>>;
}

/** An adapter that was made here: trained, combined, converted. */
export interface NewAdapter {
  readonly method: AdapterMethod;
  /** Options of the method for all modules; default those of the method. */
  readonly options?: Readonly<Record<string, unknown>>;
  /** Module path in the model ("model.layers.0.self_attn.q_proj") → its parameters. */
  readonly modules: ReadonlyMap<string, NewModule>;
  /** Tensors that replace the base's, by their names in the model: those of `modules_to_save`. Default none. */
  readonly replacements?: ReadonlyMap<string, Tensor>;
  /** Tensors of no module, by what follows `base_model.` in their keys: projections that layers share. Default none. */
  readonly shared?: ReadonlyMap<string, Tensor>;
  /** Further fields of adapter_config.json: base_model_name_or_path, task_type, target_modules (default: every path). */
  readonly config?: PeftConfig;
}

/**
 * PEFT's two files of an adapter made here, with every field of the configuration as PEFT has it. Throws
 * `SHAPE_MISMATCH`, `MISSING_TENSOR`, `INVALID_OPTION`, and `UNSUPPORTED_OPTION` where a module's own option has no
 * place in the configuration.
 */
export function newAdapterFiles(adapter: NewAdapter): AdapterFiles {
  const { method, modules } = adapter;
  const options = parseOptions(method.options, adapter.options ?? {}, method.name);
  const tensors = new Map<string, Tensor>();
  const patterns: Record<string, Record<string, Json>> = {};
  for (const [path, module] of modules) {
    const own = parseOptions(method.options, { ...adapter.options, ...module.options }, method.name);
    for (const [option, value] of Object.entries(own)) {
      if (value === options[option]) continue;
      const field = Object.entries(method.files.patterns ?? {}).find(([, each]) => each === option)?.[0];
      if (field === undefined) throw noPattern(method, path, option);
      patterns[field] ??= {};
      patterns[field][path] = value as Json;
    }
    for (const [key, tensor] of moduleTensors(method, path, module, own)) tensors.set(key, tensor);
  }
  for (const [name, tensor] of adapter.replacements ?? []) tensors.set(`${keyPrefix}${name}`, tensor);
  for (const [key, tensor] of adapter.shared ?? []) tensors.set(`base_model.${key}`, tensor);
  const fields = { ...commonFields, ...targetFields, ...method.files.fields };
  const config: Record<string, Json> = {};
  for (const [name, field] of Object.entries(fields)) {
    if (name !== "runtime_config") config[name] = field.default; // PEFT never saves it
  }
  for (const [option, field] of Object.entries(method.files.optionFields)) config[field] = options[option] as Json;
  Object.assign(
    config,
    { peft_type: method.files.peftTypes[0], target_modules: [...modules.keys()] },
    method.files.writeOptions?.(options),
    patterns,
    adapter.config,
  );
  const sorted = new Map([...tensors].sort(([a], [b]) => (a < b ? -1 : 1)));
  return { config: pythonJson(config, fields), weights: writeSafetensors(sorted, { metadata: { format: "pt" } }) };
}

function moduleTensors(
  method: AdapterMethod,
  path: string,
  { layer, params }: NewModule,
  options: OptionValues<OptionSpecs>,
): [string, Tensor][] {
  const shapes = method.params(layer, options) as Readonly<Record<string, ParamShape | undefined>>;
  return Object.entries(shapes).flatMap(([param, shape]) => {
    if (shape === undefined) return [];
    const suffix = suffixOf(method, param, layer);
    const key = `${keyPrefix}${path}.${suffix}`;
    const tensor = params[param];
    if (tensor === undefined && method.optional?.includes(param) === true) return [];
    if (tensor === undefined) {
      throw new LoomweightError({
        code: "MISSING_TENSOR",
        problem: `${method.name}: the module "${path}" has no parameter "${param}"`,
        expected: `[${paramShape(shape, layer)}]`,
        found: Object.keys(params).join(", "),
      });
    }
    const expected = paramShape(shape, layer);
    if (`${tensor.shape}` !== `${expected}`) {
      throw shapeMismatch({
        where: method.name,
        tensor: key,
        expected: { from: `the layer [${layer.out}, ${layer.in}] and the options`, shape: expected },
        got: { from: `parameter "${param}"`, shape: tensor.shape },
      });
    }
    return [[key, reshaped(tensor, method.files.fileShape?.(param, layer, options) ?? expected)]];
  });
}

/** The first suffix of a parameter that fits the kind of layer; one made for the kind comes before one for all. */
function suffixOf(method: AdapterMethod, param: string, layer: LayerShape): string {
  const own = Object.entries(method.files.suffixes).filter(([, each]) => each.param === param);
  const found = own.find(([, { kind }]) => kind === layer.kind) ?? own.find(([, { kind }]) => kind === undefined);
  if (found !== undefined) return found[0];
  throw new LoomweightError({
    code: "INVALID_METHOD",
    problem: `${method.name} has no name in files for "${param}" of a layer of the kind ${layer.kind}`,
  });
}

/** The same elements in the same order. */
function reshaped(tensor: Tensor, shape: readonly number[]): Tensor {
  return fromData(tensor.dtype, contiguousData(tensor), shape) as Tensor;
}

function noPattern(method: AdapterMethod, path: string, option: string): LoomweightError {
  return new LoomweightError({
    code: "UNSUPPORTED_OPTION",
    problem: `PEFT's files cannot hold another "${option}" for one module ("${path}") of a ${method.name} adapter`,
    option,
    expected: `one value for all modules, or an option that can differ: ${Object.values(method.files.patterns ?? {}).join(", ") || "none"}`,
  });
}
