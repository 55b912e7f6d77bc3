import type { ImportedModel } from "@loomweight/graph";
import { cast, isFloat, type OptionSpecs, type OptionValues, type Tensor } from "@loomweight/tensor";
import {
  type AdapterMethod,
  type InitContext,
  type LayerPlace,
  type ParamShape,
  paramShape,
  type SharedParam,
} from "../define.ts";
import { inModuleOrder } from "../fold/module-order.ts";
import type { LayerShape } from "../layer.ts";
import { adapterRandom } from "../random/adapter-random.ts";
import type { LayerSite } from "./layers.ts";
import { optionsOf, type PreparedAdapter, parametersFromFile } from "./spec.ts";
import { biasTensor, weightTensor } from "./weight-tensor.ts";

/** Where fresh values come from. */
export interface FirstValuesOptions {
  readonly seed: number;
  readonly statistics: ((path: string) => Readonly<Record<string, Tensor>> | undefined) | undefined;
}

/** The first values of one adapter: of each module, and of what modules share. */
export interface FirstValues {
  readonly modules: ReadonlyMap<
    string,
    {
      readonly site: LayerSite;
      readonly options: OptionValues<OptionSpecs>;
      /** The module's own parameters. */
      readonly own: Readonly<Record<string, Tensor>>;
      /** Parameter → key of the shared tensor. */
      readonly shared: Readonly<Record<string, string>>;
      /** What the method prepared: constants. */
      readonly prepared: Readonly<Record<string, Tensor>>;
    }
  >;
  readonly shared: Readonly<Record<string, Tensor>>;
}

/** Fresh parameters of an adapter on these layers, or those of its file; floats in the dtype in which the graph's adapters compute. */
export async function firstValues(
  imported: ImportedModel,
  adapter: PreparedAdapter,
  sites: readonly LayerSite[],
  options: FirstValuesOptions,
): Promise<FirstValues> {
  const { method } = adapter;
  const layers = new Map<string, LayerShape>();
  const first = new Map<string, LayerSite>();
  for (const site of sites) {
    if (first.has(site.path)) continue;
    first.set(site.path, site);
    layers.set(site.path, site.layer);
  }
  const wide = [...first.values()].some(
    ({ stored }) => imported.model.graph.initializers.get(stored)?.dtype === "float64",
  );
  // Places and indices of files have the narrowest whole numbers; operators take int64.
  const fitted = (tensor: Tensor): Tensor => {
    const dtype = !isFloat(tensor.dtype) ? "int64" : wide ? "float64" : "float32";
    return tensor.dtype === dtype ? tensor : cast(tensor, dtype);
  };
  const ordered = () =>
    new Map(inModuleOrder([...layers.keys()], adapter.name).map((path) => [path, layers.get(path) as LayerShape]));
  const shared = mapValues(await sharedTensors(adapter, layers, options.seed), fitted);
  const modules = new Map<string, ReturnType<FirstValues["modules"]["get"]> & object>();
  for (const [path, site] of first) {
    const own = optionsOf(adapter, path);
    const place: LayerPlace = { path, layers, layersInOrder: ordered };
    const uses = (method.sharedParams?.(site.layer, own, place) ?? {}) as Readonly<Record<string, SharedParam>>;
    const keys = Object.fromEntries(
      Object.entries(uses).flatMap(([param, { key }]) => (Object.hasOwn(shared, key) ? [[param, key] as const] : [])),
    );
    const params = mapValues(await ownParameters(imported, site, { adapter, options: own }, options), fitted);
    const given = { ...params, ...mapValues(keys, (key) => shared[key]) };
    const made = (await method.prepare?.(site.layer, mapValues(given, widest), own, {
      ...place,
      weight: async () => widest(await weightTensor(imported, site)) as Tensor<"float64">,
    })) as Readonly<Record<string, Tensor | undefined>> | undefined;
    const prepared: Record<string, Tensor> = {};
    for (const [name, each] of Object.entries(made ?? {})) if (each !== undefined) prepared[name] = fitted(each);
    modules.set(path, { site, options: own, own: params, shared: keys, prepared });
  }
  return { modules, shared };
}

/** Tensors that modules share: fresh, or from the adapter's file, by key. */
async function sharedTensors(
  { method, source, options, name }: PreparedAdapter,
  layers: ReadonlyMap<string, LayerShape>,
  seed: number,
): Promise<Readonly<Record<string, Tensor>>> {
  if (source === undefined) {
    const whole = optionsOf({ method, options, ownOptions: () => ({}) }, name);
    return method.shared?.(layers, whole, adapterRandom(seed, "shared")) ?? {};
  }
  const read: Record<string, Tensor> = {};
  for (const [key, info] of source.shared) read[key] = await source.checkpoint.read(info.name);
  return read;
}

async function ownParameters(
  imported: ImportedModel,
  site: LayerSite,
  { adapter, options }: { readonly adapter: PreparedAdapter; readonly options: OptionValues<OptionSpecs> },
  context: FirstValuesOptions,
): Promise<Readonly<Record<string, Tensor>>> {
  const { method, source } = adapter;
  if (source !== undefined) {
    const file = source.modules.get(site.path);
    const stored = new Map([...(file?.params ?? [])].map(([param, { shape }]) => [param, shape]));
    const shapes = shapesOf(method, site.layer, options, stored);
    const known = method.optional ?? [];
    const needed = Object.fromEntries(
      Object.entries(shapes).filter(([param]) => stored.has(param) || !known.includes(param)),
    );
    const read = await parametersFromFile(source, site.path, needed);
    if (read !== undefined) return read;
  }
  const fresh = await initialised(imported, site, { method, options }, context);
  const names = Object.keys(shapesOf(method, site.layer, options));
  const left = (name: string) => fresh[name] === undefined && method.optional?.includes(name) === true;
  return Object.fromEntries(names.filter((name) => !left(name)).map((name) => [name, fresh[name]]));
}

function shapesOf(
  method: AdapterMethod,
  layer: LayerShape,
  options: OptionValues<OptionSpecs>,
  stored?: ReadonlyMap<string, readonly number[]>,
): Record<string, readonly number[]> {
  const shapes = method.params(layer, options, stored) as Readonly<Record<string, ParamShape | undefined>>;
  return Object.fromEntries(
    Object.entries(shapes).flatMap(([name, shape]) =>
      shape === undefined ? [] : [[name, paramShape(shape, layer)] as const],
    ),
  );
}

/** Asks the method without weight and bias first: most do not need them, and reading them takes time. */
async function initialised(
  imported: ImportedModel,
  site: LayerSite,
  { method, options }: { readonly method: AdapterMethod; readonly options: OptionValues<OptionSpecs> },
  { seed, statistics }: FirstValuesOptions,
): Promise<Readonly<Record<string, Tensor>>> {
  const asked = new Error("the weight is needed");
  let read: { readonly weight: Tensor; readonly bias: Tensor | undefined } | undefined;
  const context: InitContext = {
    random: adapterRandom(seed, site.path),
    statistics: statistics?.(site.path),
    get weight(): Tensor {
      if (read === undefined) throw asked;
      return read.weight;
    },
    get bias(): Tensor | undefined {
      if (read === undefined) throw asked;
      return read.bias;
    },
  };
  try {
    return method.init(site.layer, options, context);
  } catch (error) {
    if (error !== asked) throw error;
  }
  read = { weight: await weightTensor(imported, site), bias: await biasTensor(imported, site) };
  return method.init(site.layer, options, context);
}

const widest = (tensor: Tensor): Tensor => (isFloat(tensor.dtype) ? cast(tensor, "float64") : tensor);

function mapValues<A, B>(record: Readonly<Record<string, A>>, change: (value: A) => B): Record<string, B> {
  return Object.fromEntries(Object.entries(record).map(([name, value]) => [name, change(value)]));
}
