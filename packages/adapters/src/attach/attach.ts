import type { Checkpoint } from "@loomweight/checkpoint";
import {
  cast as castValue,
  type ImportedModel,
  type Instance,
  type InstantiateOptions,
  importOnnx,
  input,
  instantiate,
  lazyTensor,
  mul,
  type OnnxModel,
  parameter,
  type Value,
  type ValueSite,
} from "@loomweight/graph";
import type { RandomInputs } from "@loomweight/graph/training";
import { isFloat, LoomweightError, type OptionSpecs, type OptionValues, type Tensor } from "@loomweight/tensor";
import type { AdapterMethod } from "../define.ts";
import type { LayerShape } from "../layer.ts";
import type { Adapter } from "../peft/adapter.ts";
import { linearTargets } from "./all-linear.ts";
import {
  type AttachedBlocks,
  attachBlocks,
  type BlockAdapterSpec,
  blockInputs,
  changedByBlocks,
  isBlockSpec,
} from "./blocks.ts";
import { adapterNamed, chooseSites, requireDistinct, sizes, unknownParameter, unmatched } from "./choose.ts";
import { firstValues } from "./first-values.ts";
import { changedState, layerInGraph, layerInput, plainState } from "./layer-in-graph.ts";
import { findLayers, type LayerSite } from "./layers.ts";
import { givenInstead, replacedBySource, requireSaved, savedTensors } from "./saved.ts";
import { type AdapterSpec, type PreparedAdapter, prepareAdapter, prepareSpec } from "./spec.ts";

export interface AttachOptions {
  /** Keys the fresh parameters. Default 0. */
  readonly seed?: number;
  /** Statistics of a layer's inputs, by path, for methods that start from them. */
  readonly statistics?: (path: string) => Readonly<Record<string, Tensor>> | undefined;
}

/** One module that an adapter changes. */
export interface AttachedModule {
  readonly path: string;
  readonly layer: LayerShape;
  readonly options: OptionValues<OptionSpecs>;
  /** Parameter of the method → its name among the attachment's parameters and constants. */
  readonly names: Readonly<Record<string, string>>;
  /** The module's own parameters, which its file holds: the others are shared or follow from the model. */
  readonly files: readonly string[];
}

/** One adapter and what it changes. */
export interface AttachedAdapter {
  readonly name: string;
  // biome-ignore lint/suspicious/noExplicitAny: options and parameters of a method are its own affair
  readonly method: AdapterMethod<any, any>;
  readonly options: Readonly<Record<string, unknown>>;
  readonly dropout: number;
  readonly modules: ReadonlyMap<string, AttachedModule>;
  /** Key of a tensor that modules share → its name among the attachment's parameters and constants. */
  readonly shared: Readonly<Record<string, string>>;
  /** Fields of adapter_config.json that select modules. */
  readonly selection: PreparedAdapter["selection"];
  ownOptions(path: string): Readonly<Record<string, unknown>>;
}

/** A whole tensor of the model that is trained beside the adapters (modules_to_save, biases). */
export interface SavedTensor {
  /** Its name in the checkpoint. */
  readonly path: string;
  /** Initializer of the graph. */
  readonly initializer: string;
  /** Whether the graph holds it transposed. */
  readonly transposed: boolean;
  /** Its name among the attachment's parameters. */
  readonly name: string;
  readonly adapter: string;
}

export interface AttachedInstanceOptions extends Omit<InstantiateOptions, "change" | "parameters"> {
  /** Values of the adapters' parameters by name; default parameters of the graph with their first values. */
  readonly parameters?: Readonly<Record<string, Value>>;
  /** Values in place of the model's own weights. */
  readonly weights?: Readonly<Record<string, Value>>;
  /** Draws dropout masks, in training; default: no dropout. */
  readonly random?: RandomInputs;
  /** Which adapters are at work, in this order; default all, in the order in which they were attached. */
  readonly active?: readonly string[];
  /** Sees every value after the adapters, as that of `instantiate`. */
  readonly change?: (site: ValueSite) => Value | undefined;
}

/** Adapters put on a graph. */
export interface Attachment {
  readonly model: ImportedModel;
  /** Those that change layers. */
  readonly adapters: readonly AttachedAdapter[];
  /** Those that change what modules compute; they come after those of layers. */
  readonly blocks: readonly AttachedBlocks[];
  /** First values of everything that is trained, by name: "<module>.<parameter>" or "shared.<key>", the adapter's name and ":" before it where there are several. */
  readonly parameters: Readonly<Record<string, Tensor>>;
  /** What adapters need besides and training leaves as it is: projections, positions. */
  readonly constants: Readonly<Record<string, Tensor>>;
  readonly saved: readonly SavedTensor[];
  readonly warnings: readonly string[];
  /** The model with its adapters, called like a function; differentiable with respect to `parameters`. */
  instantiate(options?: AttachedInstanceOptions): Instance;
}

/** What `attach` takes: a fresh adapter of layers or of blocks, or one of PEFT's files. */
export type AnyAdapter = AdapterSpec | BlockAdapterSpec | Adapter;

/**
 * Puts adapters on the layers and modules of a graph, built here or imported from a file. `checkpoint` (of the base) tells how
 * weights are stored, where the graph does not. Of several adapters each changes what those before it made of the layer;
 * those that change what modules compute come after those of layers.
 * Throws `NO_TARGET` where the targets match no layer (with the closest names), `UNSUPPORTED_LAYER` where the method does
 * not adapt a layer of that kind, `INVALID_OPTION` and what the method's initialisation throws.
 */
export async function attach(
  model: OnnxModel | ImportedModel,
  checkpoint: Checkpoint | undefined,
  adapters: AnyAdapter | readonly AnyAdapter[],
  options: AttachOptions = {},
): Promise<Attachment> {
  const imported = "parameters" in model ? model : await importOnnx(model);
  const sites = findLayers(imported, checkpoint);
  const list = (Array.isArray(adapters) ? adapters : [adapters]) as readonly AnyAdapter[];
  const nameOf = (index: number) => (list.length === 1 ? "default" : `adapter${index}`);
  const prepared: PreparedAdapter[] = [];
  const specs: (BlockAdapterSpec & { readonly name: string })[] = [];
  list.forEach((each, index) => {
    if (isBlockSpec(each)) specs.push({ name: nameOf(index), ...each });
    else if ("modules" in each) prepared.push(prepareAdapter(each, nameOf(index)));
    else prepared.push(prepareSpec({ name: nameOf(index), ...each }, () => linearTargets(imported, sites)));
  });
  requireDistinct([...prepared, ...specs]);
  const prefix = ({ name }: { readonly name: string }) => (list.length === 1 ? "" : `${name}:`);
  const parameters: Record<string, Tensor> = {};
  const constants: Record<string, Tensor> = {};
  const attached: AttachedAdapter[] = [];
  const saved: SavedTensor[] = [];
  const warnings: string[] = [];
  const save = async (
    owner: { readonly name: string },
    found: ReturnType<typeof savedTensors>,
    first: (each: ReturnType<typeof savedTensors>[number], own: Tensor) => Promise<Tensor>,
  ) => {
    for (const each of found) {
      const key = `${prefix(owner)}${each.path}`;
      saved.push({ ...each, name: key, adapter: owner.name });
      const own = await (imported.model.graph.initializers.get(each.initializer)?.data.read() as Promise<Tensor>);
      parameters[key] = await first(each, own);
    }
  };
  for (const adapter of prepared) {
    const chosen = chooseSites(adapter, sites);
    warnings.push(...unmatched(adapter, chosen));
    const first = await firstValues(imported, adapter, chosen, {
      seed: options.seed ?? 0,
      statistics: options.statistics,
    });
    const frozen = new Set<string>(adapter.method.frozen ?? []);
    const keep = (param: string, name: string, tensor: Tensor) => {
      (frozen.has(param) || !isFloat(tensor.dtype) ? constants : parameters)[name] = tensor;
      return name;
    };
    const modules = new Map<string, AttachedModule>();
    for (const [path, { site, options: own, own: params, shared, prepared: made }] of first.modules) {
      const names: Record<string, string> = {};
      for (const [param, tensor] of Object.entries(params)) {
        names[param] = keep(param, `${prefix(adapter)}${path}.${param}`, tensor);
      }
      for (const [param, key] of Object.entries(shared)) {
        names[param] = keep(param, `${prefix(adapter)}shared.${key}`, first.shared[key]);
      }
      const ownNames = { ...names };
      for (const [param, tensor] of Object.entries(made)) {
        names[param] = `${prefix(adapter)}${path}.${param}`;
        constants[names[param]] = tensor;
      }
      modules.set(path, {
        path,
        layer: site.layer,
        options: own,
        names,
        files: Object.keys(ownNames).filter((each) => !(each in shared)),
      });
    }
    const sharedNames = Object.fromEntries(
      Object.keys(first.shared).map((key) => [key, `${prefix(adapter)}shared.${key}`]),
    );
    const { name, method, dropout, selection, ownOptions } = adapter;
    attached.push({
      name,
      method,
      options: adapter.options,
      dropout,
      modules,
      shared: sharedNames,
      selection,
      ownOptions,
    });
    await save(adapter, savedTensors(imported, adapter.targets, modules, sites), (each, own) =>
      replacedBySource(adapter, each, own),
    );
  }
  const blocks: AttachedBlocks[] = [];
  for (const spec of specs) {
    const made = attachBlocks(imported, spec, { ...options, name: spec.name, prefix: prefix(spec) });
    blocks.push(made.blocks);
    Object.assign(parameters, made.parameters);
    const found = savedTensors(imported, made.blocks.targets, new Map(), sites);
    requireSaved(spec, found);
    await save(spec, found, async (each, own) => givenInstead(spec, each, own));
  }
  const byOutput = new Map<string, LayerSite[]>();
  for (const site of sites) {
    if (!attached.some(({ modules }) => modules.has(site.path))) continue;
    byOutput.set(site.output, [...(byOutput.get(site.output) ?? []), site]);
  }
  return {
    model: imported,
    adapters: attached,
    blocks,
    parameters,
    constants,
    saved,
    warnings,
    instantiate: (given = {}) =>
      instantiateAttached({ imported, attached, blocks, parameters, constants, saved, byOutput }, given),
  };
}

interface Attached {
  readonly imported: ImportedModel;
  readonly attached: readonly AttachedAdapter[];
  readonly blocks: readonly AttachedBlocks[];
  readonly parameters: Readonly<Record<string, Tensor>>;
  readonly constants: Readonly<Record<string, Tensor>>;
  readonly saved: readonly SavedTensor[];
  readonly byOutput: ReadonlyMap<string, readonly LayerSite[]>;
}

function instantiateAttached(
  { imported, attached, blocks, parameters: initial, constants, saved, byOutput }: Attached,
  options: AttachedInstanceOptions,
): Instance {
  const { parameters = {}, weights = {}, random, active, change, prefix, ...rest } = options;
  const chosen = active?.map((name) => adapterNamed([...attached, ...blocks], name));
  const working = (chosen?.filter((each) => "modules" in each) as typeof attached | undefined) ?? attached;
  const workingBlocks = (chosen?.filter((each) => "sites" in each) as typeof blocks | undefined) ?? blocks;
  for (const name of Object.keys(parameters)) {
    if (!Object.hasOwn(initial, name)) throw unknownParameter(name, initial);
  }
  const own = new Map<string, Value>();
  const trained = (name: string): Value => {
    if (Object.hasOwn(parameters, name)) return parameters[name];
    const made = own.get(name) ?? parameter(name, lazyTensor(initial[name] ?? constants[name]));
    own.set(name, made);
    return made;
  };
  // Inputs are made here, so that adapters see them by name.
  const inputs: Record<string, Value> = { ...options.inputs };
  const told = blockInputs(workingBlocks, inputs);
  for (const name of Object.keys(told)) if (!imported.inputs.some((each) => each.name === name)) delete inputs[name];
  for (const { name, dtype, shape } of imported.inputs) {
    if (inputs[name] === undefined && dtype !== undefined && shape !== undefined) {
      inputs[name] = input(prefix === undefined ? name : `${prefix}/${name}`, dtype, shape);
    }
  }
  const replaced: Record<string, Value> = { ...weights };
  for (const each of saved) {
    if (![...working, ...workingBlocks].some(({ name }) => name === each.adapter)) continue;
    const dtype = imported.model.graph.initializers.get(each.initializer)?.dtype ?? "float32";
    const value = trained(each.name);
    replaced[each.initializer] = value.dtype === dtype ? value : castValue(value, dtype);
  }
  const made = new Map<string, Value>();
  const value = (name: string): Value => {
    const found =
      made.get(name) ?? replaced[name] ?? inputs[name] ?? imported.parameters.get(name) ?? imported.constants.get(name);
    if (found !== undefined) return found;
    throw new LoomweightError({ code: "UNKNOWN_VALUE", problem: `the graph has no value "${name}" yet`, found: name });
  };
  const instance = instantiate(imported, {
    ...rest,
    prefix,
    inputs,
    parameters: replaced,
    change(site) {
      let current = site.value;
      for (const each of byOutput.get(site.name) ?? []) {
        current = adapted(each, { value, output: current }, { working, trained, random });
      }
      made.set(site.name, current);
      for (const each of workingBlocks) {
        current = changedByBlocks(each, { name: site.name, output: current, value }, { trained, told, random });
        made.set(site.name, current);
      }
      const changed = change?.({ ...site, value: current }) ?? current;
      made.set(site.name, changed);
      return changed;
    },
  });
  return { ...instance, inputs: { ...instance.inputs, ...told } };
}

/** The layer's output with all adapters that are at work on it. */
function adapted(
  site: LayerSite,
  values: { readonly value: (name: string) => Value; readonly output: Value },
  context: {
    readonly working: readonly AttachedAdapter[];
    readonly trained: (name: string) => Value;
    readonly random: RandomInputs | undefined;
  },
): Value {
  const raw = layerInput(site, values.value);
  const plain = plainState(site, values.value, values.output);
  let state = plain;
  for (const { name, method, dropout, modules } of context.working) {
    const module = modules.get(site.path);
    if (module === undefined) continue;
    const { random } = context;
    const thinned = dropout > 0 && random !== undefined && isFloat(raw.dtype);
    const x = thinned ? mul(raw, random.keep(`${name}/${site.product}`, sizes(raw, site), dropout)) : raw;
    const layer = layerInGraph(site, { state, plain, raw, x, value: values.value });
    const params = Object.fromEntries(Object.entries(module.names).map(([key, each]) => [key, context.trained(each)]));
    state = changedState(site, {
      output: method.apply(layer, params, x, module.options),
      weight: () => {
        const sums = method.sums?.(layer, params, module.options) ?? {};
        const weight = method.weight?.(layer, params, module.options, sums);
        if (weight !== undefined) return weight;
        throw new LoomweightError({
          code: "UNSUPPORTED_ADAPTER",
          problem: `the adapter after "${name}" on "${site.path}" needs the layer's weight, and ${method.name} has no form as one`,
          fix: "Attach it first.",
        });
      },
      bias: () => {
        const { bias } = layer;
        if (bias === undefined || method.bias?.needs.every((need: string) => need in params) !== true) return bias;
        return method.bias.change(bias, site.layer, params, module.options);
      },
    });
  }
  if (state === plain) return values.output;
  return state.output.dtype === values.output.dtype ? state.output : castValue(state.output, values.output.dtype);
}
