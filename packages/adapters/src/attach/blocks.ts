import { type ImportedModel, type Instance, input, instantiate, type Value } from "@loomweight/graph";
import { dropout } from "@loomweight/graph/nn";
import type { RandomInputs } from "@loomweight/graph/training";
import { LoomweightError, parseOptions, type Tensor, unknownName } from "@loomweight/tensor";
import type { BlockInputs, BlockMethod, BlockShape } from "../define-block.ts";
import type { Json } from "../peft/format.ts";
import { readTargets, type Targets } from "../peft/targets.ts";
import { adapterRandom } from "../random/adapter-random.ts";
import type { AttachOptions } from "./attach.ts";
import { type BlockSite, findBlock, modulePaths, noModule } from "./block-sites.ts";

/** An adapter of block scope: a method, its options, and which modules get it. Fields of selection mean what PEFT's mean. */
export interface BlockAdapterSpec {
  // biome-ignore lint/suspicious/noExplicitAny: options and parameters of a method are its own affair
  readonly method: BlockMethod<any, any>;
  /** Options of the method; default its own. */
  readonly options?: Readonly<Record<string, unknown>>;
  /** Needed where several adapters are attached; default "default". */
  readonly name?: string;
  /** Modules by name (a whole path or its end) or by a regular expression for the whole path, found by the scopes of the node names. */
  readonly targets?: string | readonly string[];
  readonly exclude?: string | readonly string[];
  /** Instead of targets: modules in order, by path or by the names of the values around them. */
  readonly sites?: readonly (string | BlockSite)[];
  /** `modules_to_save`: modules that are trained whole: a head. */
  readonly modulesToSave?: readonly string[];
  /** `task_type`: with SEQ_CLS, TOKEN_CLS and QUESTION_ANS the model's head is trained whole. */
  readonly taskType?: string;
  /** First values instead of fresh ones, every parameter by "<path>.<parameter>" or "shared.<parameter>": those of a file. */
  readonly parameters?: Readonly<Record<string, Tensor>>;
  /** Values of tensors that are trained whole, by their names in the checkpoint: those of a file. */
  readonly saved?: Readonly<Record<string, Tensor>>;
}

/** One adapter of block scope and the modules it changes. */
export interface AttachedBlocks {
  readonly name: string;
  // biome-ignore lint/suspicious/noExplicitAny: options and parameters of a method are its own affair
  readonly method: BlockMethod<any, any>;
  readonly options: Readonly<Record<string, unknown>>;
  readonly sites: readonly (BlockShape & BlockSite)[];
  /** The sites as they were named: what files hold. */
  readonly named: readonly (string | BlockSite)[];
  /** "<path>.<parameter>" or "shared.<parameter>" → its name among the attachment's parameters. */
  readonly names: Readonly<Record<string, string>>;
  /** What the adapted model is told besides its own inputs. */
  readonly inputs: BlockInputs;
  readonly targets: Pick<Targets, "isSaved" | "bias">;
  readonly modulesToSave: readonly string[];
  readonly taskType: string | undefined;
}

/** Whether an adapter is a fresh one of block scope, or one from its folder. */
export function isBlockSpec(adapter: object): adapter is BlockAdapterSpec {
  return "method" in adapter && !("kinds" in (adapter.method as object)) && !("modules" in adapter);
}

/**
 * Finds the modules and makes first values. Throws `NO_TARGET` where nothing matches (with the closest paths),
 * `AMBIGUOUS_TARGET` where a module has several inputs or outputs, `UNKNOWN_VALUE` for names that the graph does not
 * have, `UNKNOWN_TENSOR`, `MISSING_TENSOR` and `SHAPE_MISMATCH` for given values, and what the method throws.
 */
export function attachBlocks(
  imported: ImportedModel,
  spec: BlockAdapterSpec,
  { name, prefix, seed = 0, statistics }: AttachOptions & { readonly name: string; readonly prefix: string },
): { readonly blocks: AttachedBlocks; readonly parameters: Readonly<Record<string, Tensor>> } {
  const { method } = spec;
  const options = parseOptions(method.options, spec.options ?? {}, method.name);
  const { named, targets } = chosenSites(imported, spec, name);
  const plain = instantiate(imported);
  const width = (value: string) => Number(plain.value(value).shape.at(-1));
  const sites = named.map((given, index) => {
    const site = typeof given === "string" ? findBlock(imported, given) : given;
    return { ...site, index, in: width(site.input), out: width(site.output) };
  });
  const own: Record<string, Tensor> = {};
  for (const site of sites) {
    const context = { random: adapterRandom(seed, site.path), statistics: statistics?.(site.path) };
    method.params(site, options); // refuses what does not fit before anything is drawn
    for (const [param, tensor] of Object.entries(method.init(site, options, context))) {
      own[`${site.path}.${param}`] = tensor as Tensor;
    }
  }
  const shared = method.initShared?.(sites, options, adapterRandom(seed, "shared")) ?? {};
  for (const [param, tensor] of Object.entries(shared)) own[`shared.${param}`] = tensor as Tensor;
  if (spec.parameters !== undefined) takeValues(own, spec.parameters);
  const names = Object.fromEntries(Object.keys(own).map((each) => [each, `${prefix}${each}`]));
  return {
    parameters: Object.fromEntries(Object.entries(own).map(([each, tensor]) => [names[each], tensor])),
    blocks: {
      name,
      method,
      options,
      sites,
      named,
      names,
      inputs: method.inputs?.(options) ?? {},
      targets,
      modulesToSave: spec.modulesToSave ?? [],
      taskType: spec.taskType,
    },
  };
}

function chosenSites(
  imported: ImportedModel,
  spec: BlockAdapterSpec,
  name: string,
): { named: readonly (string | BlockSite)[]; targets: Targets } {
  const where = `adapter "${name}"`;
  if (spec.sites !== undefined && spec.targets !== undefined) {
    throw new LoomweightError({
      code: "INVALID_OPTION",
      problem: `${where}: modules are named twice`,
      option: "sites",
      expected: "targets or sites",
    });
  }
  const paths = modulePaths(imported);
  const targets = readTargets(
    {
      target_modules: (spec.targets ?? (spec.sites === undefined ? null : ".*")) as Json,
      exclude_modules: (spec.exclude ?? null) as Json,
      modules_to_save: (spec.modulesToSave ?? null) as Json,
      task_type: spec.taskType ?? null,
      bias: "none",
    },
    where,
    [],
  );
  const named = spec.sites ?? paths.filter((path) => targets.isTarget(path));
  if (named.length === 0) throw noModule(targets.entries.join(", "), paths);
  const own = named.map((site) => (typeof site === "string" ? site : site.path));
  const twice = own.find((path, i) => own.indexOf(path) !== i);
  if (twice !== undefined) {
    throw new LoomweightError({
      code: "INVALID_OPTION",
      problem: `${where}: a module is named twice`,
      option: "sites",
      found: JSON.stringify(twice),
    });
  }
  return { named, targets };
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

/** Inputs of an instance that adapters of block scope add: those that are given, or new ones. */
export function blockInputs(
  blocks: readonly AttachedBlocks[],
  given: Readonly<Record<string, Value>>,
): Record<string, Value> {
  const told: Record<string, Value> = {};
  for (const { inputs } of blocks) {
    for (const [name, { dtype, shape }] of Object.entries(inputs)) {
      told[name] ??= given[name] ?? input(name, dtype, shape);
    }
  }
  return told;
}

/** What a module gives with the adapter, where one of its sites ends at this value. */
export function changedByBlocks(
  { method, options, sites, names }: AttachedBlocks,
  at: { readonly name: string; readonly output: Value; readonly value: (name: string) => Value },
  context: {
    readonly trained: (name: string) => Value;
    readonly told: Instance["inputs"];
    readonly random: RandomInputs | undefined;
  },
): Value {
  let { output } = at;
  const below = (path: string) => {
    const inner = sites.filter((site) => site.path.startsWith(`${path}.`)).map((site) => `${site.path}.`);
    return Object.fromEntries(
      Object.entries(names).flatMap(([own, name]) =>
        own.startsWith(`${path}.`) && !inner.some((each) => own.startsWith(each))
          ? [[own.slice(path.length + 1), context.trained(name)]]
          : [],
      ),
    );
  };
  for (const site of sites) {
    if (site.output !== at.name) continue;
    const place = {
      ...site,
      input: at.value(site.input),
      output,
      residual: site.residual === undefined ? undefined : at.value(site.residual),
      dropout: (x: Value, mask: string, rate: number) => dropout(x, rate, context.random, `${site.path}/${mask}`),
    };
    const tensors = { own: below(site.path), shared: below("shared") };
    const params = method.generate?.(site, tensors as never, context.told, options as never) ?? tensors.own;
    output = method.apply(place, params, options as never);
  }
  return output;
}
