import {
  type GraphIndex,
  type ImportedModel,
  type Instance,
  type InstantiateOptions,
  importOnnx,
  indexGraph,
  input,
  instantiate,
  lazyTensor,
  type OnnxModel,
  type OnnxNode,
  parameter,
  type Value,
  type ValueSite,
} from "@loomweight/graph";
import { dropout } from "@loomweight/graph/nn";
import type { RandomInputs } from "@loomweight/graph/training";
import { closestNames, LoomweightError, parseOptions, type Tensor, unknownName } from "@loomweight/tensor";
import type { Params } from "../define.ts";
import type { BlockMethod, BlockPosition, BlockShape } from "../define-block.ts";
import { adapterRandom } from "../random/adapter-random.ts";

/** A module of a graph by the names of the values around it. */
export interface BlockSite {
  /** Its path: what parameters are named after. */
  readonly path: string;
  /** What the module reads. */
  readonly input: string;
  /** What it gives, and what is changed. */
  readonly output: string;
  /** What the output is added to, where it is. */
  readonly residual?: string;
  readonly position?: BlockPosition;
}

export interface BlockAdapterSpec {
  // biome-ignore lint/suspicious/noExplicitAny: options and parameters of a method are its own affair
  readonly method: BlockMethod<any, any>;
  /** Options of the method; default its own. */
  readonly options?: Readonly<Record<string, unknown>>;
  /** Modules in order: by path, found by the scopes of the node names, or by the names of the values around them. */
  readonly sites: readonly (string | BlockSite)[];
  /** First values instead of fresh ones, every parameter by its name among the attachment's: those of a file. */
  readonly parameters?: Readonly<Record<string, Tensor>>;
  /** Keys the fresh parameters. Default 0. */
  readonly seed?: number;
  /** Statistics of a site's inputs, by path, for methods that start from them. */
  readonly statistics?: (path: string) => Readonly<Record<string, Tensor>> | undefined;
}

export interface BlockInstanceOptions extends Omit<InstantiateOptions, "change"> {
  /** Values of the adapter's parameters by name; default parameters of the graph with their first values. */
  readonly adapter?: Readonly<Record<string, Value>>;
  /** Draws dropout masks, in training; default: no dropout. */
  readonly random?: RandomInputs;
}

/** A method of block scope put on a graph. */
export interface BlockAttachment {
  readonly model: ImportedModel;
  // biome-ignore lint/suspicious/noExplicitAny: options and parameters of a method are its own affair
  readonly method: BlockMethod<any, any>;
  readonly options: Readonly<Record<string, unknown>>;
  readonly sites: readonly (BlockShape & BlockSite)[];
  /** First values of what is trained: "<path>.<parameter>", and "shared.<parameter>" of what all sites share. */
  readonly parameters: Readonly<Record<string, Tensor>>;
  /** The model with its adapters, called like a function; inputs of the method (`task`) are among its inputs. */
  instantiate(options?: BlockInstanceOptions): Instance;
}

/**
 * Puts a method that changes activations on modules of a graph, built here or imported. Throws `NO_TARGET` where a path
 * matches no nodes (with the closest), `AMBIGUOUS_TARGET` where a module has several inputs or outputs, `UNKNOWN_VALUE`
 * for names that the graph does not have, and what the method throws.
 */
export async function attachBlocks(model: OnnxModel | ImportedModel, spec: BlockAdapterSpec): Promise<BlockAttachment> {
  const imported = "parameters" in model ? model : await importOnnx(model);
  const { method, seed = 0 } = spec;
  const options = parseOptions(method.options, spec.options ?? {}, method.name);
  const plain = instantiate(imported);
  const width = (name: string) => Number(plain.value(name).shape.at(-1));
  const sites = spec.sites.map((given, index) => {
    const site = typeof given === "string" ? findBlock(imported, given) : given;
    return { ...site, index, in: width(site.input), out: width(site.output) };
  });
  if (sites.length === 0) throw noTarget("", []);
  const parameters: Record<string, Tensor> = {};
  for (const site of sites) {
    const context = { random: adapterRandom(seed, site.path), statistics: spec.statistics?.(site.path) };
    method.params(site, options); // refuses what does not fit before anything is drawn
    for (const [name, tensor] of Object.entries(method.init(site, options, context))) {
      parameters[`${site.path}.${name}`] = tensor as Tensor;
    }
  }
  const shared = method.initShared?.(sites, options, adapterRandom(seed, "shared")) ?? {};
  for (const [name, tensor] of Object.entries(shared)) parameters[`shared.${name}`] = tensor as Tensor;
  if (spec.parameters !== undefined) takeValues(parameters, spec.parameters);
  return {
    model: imported,
    method,
    options,
    sites,
    parameters,
    instantiate: (given = {}) => instantiateBlocks({ imported, method, options, sites, parameters }, given),
  };
}

/** Replaces first values by given ones, which have to be all of them and of their shapes. */
function takeValues(parameters: Record<string, Tensor>, given: Readonly<Record<string, Tensor>>): void {
  for (const name of Object.keys(given)) {
    if (Object.hasOwn(parameters, name)) continue;
    throw unknownName({ kind: "parameter", name, known: Object.keys(parameters), code: "UNKNOWN_TENSOR" });
  }
  for (const [name, { shape }] of Object.entries(parameters)) {
    const tensor = given[name];
    if (tensor === undefined || tensor.shape.join() !== shape.join()) {
      throw new LoomweightError({
        code: tensor === undefined ? "MISSING_TENSOR" : "SHAPE_MISMATCH",
        problem: "the adapter's tensors do not fit its options and the graph",
        tensor: name,
        expected: `[${shape}]`,
        found: tensor === undefined ? "nothing" : `[${tensor.shape}]`,
      });
    }
    parameters[name] = tensor;
  }
}

interface Attached {
  readonly imported: ImportedModel;
  // biome-ignore lint/suspicious/noExplicitAny: options and parameters of a method are its own affair
  readonly method: BlockMethod<any, any>;
  readonly options: Readonly<Record<string, unknown>>;
  readonly sites: readonly (BlockShape & BlockSite)[];
  readonly parameters: Readonly<Record<string, Tensor>>;
}

function instantiateBlocks(attached: Attached, given: BlockInstanceOptions): Instance {
  const { imported, method, options, sites, parameters } = attached;
  const { adapter = {}, random, ...rest } = given;
  for (const name of Object.keys(adapter)) {
    if (!Object.hasOwn(parameters, name)) {
      throw unknownName({ kind: "parameter", name, known: Object.keys(parameters), code: "UNKNOWN_TENSOR" });
    }
  }
  const values = new Map<string, Value>();
  const own: Record<string, Value> = {};
  for (const [name, tensor] of Object.entries(parameters))
    own[name] = adapter[name] ?? parameter(name, lazyTensor(tensor));
  const below = (prefix: string): Params =>
    Object.fromEntries(
      Object.entries(own).flatMap(([name, value]) =>
        name.startsWith(prefix) ? [[name.slice(prefix.length), value]] : [],
      ),
    );
  // Inputs are made here, so that sites that read one find it.
  const inputs: Record<string, Value> = { ...rest.inputs };
  for (const { name, dtype, shape } of imported.inputs) {
    if (inputs[name] === undefined && dtype !== undefined && shape !== undefined)
      inputs[name] = input(name, dtype, shape);
  }
  for (const [name, value] of Object.entries(inputs)) values.set(name, value);
  const told: Record<string, Value> = {};
  for (const [name, { dtype, shape }] of Object.entries(method.inputs?.(options as never) ?? {})) {
    told[name] = inputs[name] ?? input(name, dtype, shape);
    delete inputs[name];
  }
  const change = ({ name, value }: ValueSite): Value | undefined => {
    values.set(name, value);
    let changed: Value | undefined;
    for (const site of sites) {
      if (site.output !== name) continue;
      const at = (wanted: string) => {
        const found = values.get(wanted);
        if (found !== undefined) return found;
        throw unknownName({ kind: "value", name: wanted, known: values.keys(), code: "UNKNOWN_VALUE" });
      };
      const place = {
        ...site,
        input: at(site.input),
        output: changed ?? value,
        residual: site.residual === undefined ? undefined : at(site.residual),
        dropout: (x: Value, mask: string, rate: number) => dropout(x, rate, random, `${site.path}/${mask}`),
      };
      const tensors = { own: below(`${site.path}.`), shared: below("shared.") };
      const params = method.generate?.(site, tensors as never, told, options as never) ?? tensors.own;
      changed = method.apply(place, params, options as never);
    }
    if (changed !== undefined) values.set(name, changed);
    return changed;
  };
  const made = instantiate(imported, { ...rest, inputs, change });
  return { ...made, inputs: { ...made.inputs, ...told } };
}

/**
 * A module by its path, from the scopes of the node names ("/blocks.0/mlp/fc1/MatMul" lies in "blocks.0.mlp"): what
 * enters it from other nodes, what leaves it, and what that is added to. Throws `NO_TARGET`, `AMBIGUOUS_TARGET`.
 */
export function findBlock(imported: ImportedModel, path: string): BlockSite {
  const { graph } = imported.model;
  const index = indexGraph(graph);
  const inside = new Set(graph.nodes.filter((node) => scopeOf(node).includes(`.${path}.`)));
  if (inside.size === 0) throw noTarget(path, graph.nodes.map(scopeOf));
  const made = new Set([...inside].flatMap((node) => node.outputs));
  const reads = new Set<string>();
  const gives = new Set<string>();
  for (const node of inside) {
    for (const name of node.inputs)
      if (name !== "" && !made.has(name) && isActivation(name, imported, index)) reads.add(name);
    for (const name of node.outputs) {
      if (index.isOutput(name) || index.consumers(name).some((each) => !inside.has(each))) gives.add(name);
    }
  }
  if (reads.size !== 1 || gives.size !== 1) {
    throw new LoomweightError({
      code: "AMBIGUOUS_TARGET",
      problem: `the module "${path}" has ${reads.size} inputs and ${gives.size} outputs`,
      option: "sites",
      expected: "one of each",
      found: `inputs ${list(reads)}; outputs ${list(gives)}`,
      fix: "Name its values: { path, input, output, residual }.",
    });
  }
  const [output] = gives;
  const sum = index.consumers(output).find((node) => node.op === "Add" && !inside.has(node));
  const residual = sum?.inputs.find(
    (name) => name !== output && isActivation(name, imported, index) && !dependsOn(name, output, index),
  );
  return { path, input: [...reads][0], output, ...(residual === undefined ? {} : { residual }) };
}

/** ".blocks.0.mlp.fc1.": the scopes of a node, whatever separates them. */
function scopeOf({ name }: OnnxNode): string {
  const parts = name.split(/[/.]/).filter((part) => part !== "");
  return `.${parts.slice(0, -1).join(".")}.`;
}

/** Not a weight, nor made of weights and constants only. */
function isActivation(name: string, imported: ImportedModel, index: GraphIndex, seen = new Set<string>()): boolean {
  if (imported.model.graph.initializers.has(name)) return false;
  const producer = index.producer(name);
  if (producer === undefined) return true;
  if (seen.has(name)) return false;
  seen.add(name);
  return producer.inputs.some((each) => each !== "" && isActivation(each, imported, index, seen));
}

/** Whether a value is computed from another. */
function dependsOn(name: string, from: string, index: GraphIndex): boolean {
  const stack = [name];
  const seen = new Set(stack);
  for (let at = stack.pop(); at !== undefined; at = stack.pop()) {
    if (at === from) return true;
    for (const each of index.producer(at)?.inputs ?? []) {
      if (!seen.has(each)) stack.push(each);
      seen.add(each);
    }
  }
  return false;
}

const list = (names: ReadonlySet<string>) => (names.size === 0 ? "none" : [...names].slice(0, 4).join(", "));

function noTarget(path: string, scopes: readonly string[]): LoomweightError {
  const known = new Set(
    scopes.flatMap((scope) => {
      const parts = scope.split(".").filter((part) => part !== "");
      return parts.map((_, i) => parts.slice(0, i + 1).join("."));
    }),
  );
  if (path === "") {
    return new LoomweightError({
      code: "NO_TARGET",
      problem: "no site is named",
      option: "sites",
      expected: "at least one path",
    });
  }
  const close = closestNames(path, known).map((each) => `"${each}"`);
  return new LoomweightError({
    code: "NO_TARGET",
    problem: `no node of the graph lies in a module "${path}"`,
    option: "sites",
    fix:
      close.length > 0
        ? `Did you mean ${close.join(" or ")}?`
        : "Name the values around it: { path, input, output, residual }.",
  });
}
