import { LoomweightError, type OptionSpecs, type OptionValues, parseOptions, type Tensor } from "@loomweight/tensor";
import type { AdapterMethod } from "../define.ts";
import type { Adapter } from "../peft/adapter.ts";
import type { Json, PeftConfig } from "../peft/format.ts";
import { readPatterns, readTargets, type Targets } from "../peft/targets.ts";
import { requireNoWrapped } from "../peft/wrapped.ts";

/** A fresh adapter: a method, its options, and which modules get it. Fields of selection mean what PEFT's mean. */
export interface AdapterSpec {
  // biome-ignore lint/suspicious/noExplicitAny: options and parameters of a method are its own affair
  readonly method: AdapterMethod<any, any>;
  /** Options of the method; default its own. */
  readonly options?: Readonly<Record<string, unknown>>;
  /** Needed where several adapters are attached; default "default". */
  readonly name?: string;
  /** `target_modules`: names (a whole path or its end), a regular expression for the whole path, or "all-linear" (default): every linear layer but the output head. */
  readonly targets?: string | readonly string[];
  /** `exclude_modules`. */
  readonly exclude?: string | readonly string[];
  /** `layers_to_transform`. */
  readonly layers?: number | readonly number[];
  /** `layers_pattern`. */
  readonly layersPattern?: string | readonly string[];
  /** Options of single modules by pattern, as `rank_pattern` and `alpha_pattern`: { rank: { q_proj: 4 } }. */
  readonly patterns?: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  /** Share of the layer's inputs that the adapter does not see in training; default 0. */
  readonly dropout?: number;
  /** `modules_to_save`: modules that are trained whole. */
  readonly modulesToSave?: readonly string[];
  /** `task_type`: with SEQ_CLS, TOKEN_CLS and QUESTION_ANS the model's head is trained whole, as PEFT does. */
  readonly taskType?: string;
  /** Which biases of the model are trained too; default "none". "adapted": those of adapted modules. */
  readonly bias?: "none" | "all" | "adapted";
  /** Further fields of adapter_config.json that say how the adapter came about: { eva_config: … }. */
  readonly config?: PeftConfig;
}

/** A fresh adapter or one of PEFT's files, as attaching sees it. */
export interface PreparedAdapter {
  readonly name: string;
  readonly method: AdapterMethod;
  readonly dropout: number;
  readonly targets: Targets;
  /** Fields of adapter_config.json that say which modules are adapted, for what is written later. */
  readonly selection: PeftConfig;
  readonly options: Readonly<Record<string, unknown>>;
  /** Options of one module that differ from `options`. */
  ownOptions(path: string): Readonly<Record<string, unknown>>;
  /** The module's parameters from a file; undefined for a fresh adapter. */
  readonly source: Adapter | undefined;
}

/** Options of a module, checked. */
export function optionsOf(
  adapter: Pick<PreparedAdapter, "method" | "options" | "ownOptions">,
  path: string,
): OptionValues<OptionSpecs> {
  const { method, options } = adapter;
  return parseOptions(method.options, { ...options, ...adapter.ownOptions(path) }, method.name);
}

/** The linear layers that "all-linear" means, by path: all but output heads. */
export type AllLinear = () => readonly string[];

/** Checks a specification. Throws `INVALID_OPTION`, `UNKNOWN_OPTION` and what patterns throw. */
export function prepareSpec(spec: AdapterSpec, allLinear: AllLinear): PreparedAdapter {
  const { method, options = {}, name = "default", targets = "all-linear", dropout = 0 } = spec;
  const where = `adapter "${name}"`;
  if (!(dropout >= 0 && dropout < 1)) throw outOfRange("dropout", dropout, "0 <= x < 1");
  const bias = spec.bias ?? "none";
  if (bias === "adapted" && method.files.biasOfAdapted.length === 0) {
    throw outOfRange("bias", bias, "none or all: the files of this method have no place for other biases");
  }
  const selection: PeftConfig = {
    ...spec.config,
    target_modules: (targets === "all-linear" ? allLinear() : targets) as Json,
    exclude_modules: (spec.exclude ?? null) as Json,
    layers_to_transform: (spec.layers ?? null) as Json,
    layers_pattern: (spec.layersPattern ?? null) as Json,
    modules_to_save: (spec.modulesToSave ?? null) as Json,
    task_type: spec.taskType ?? null,
    bias: bias === "adapted" ? method.files.biasOfAdapted[0] : bias,
  };
  const patterns = Object.entries(spec.patterns ?? {}).map(([option, values]) => {
    if (!Object.hasOwn(method.options, option)) {
      throw outOfRange(`patterns.${option}`, option, Object.keys(method.options).join(", "));
    }
    return { option, find: readPatterns(values as PeftConfig, `patterns.${option}`, where) };
  });
  parseOptions(method.options, options, method.name);
  return {
    name,
    method,
    dropout,
    options,
    selection,
    targets: readTargets(selection, where, method.files.biasOfAdapted),
    source: undefined,
    ownOptions: (path) => {
      const own: Record<string, unknown> = {};
      for (const { option, find } of patterns) {
        const value = find(path);
        if (value !== undefined) own[option] = value;
      }
      return own;
    },
  };
}

/** An adapter of PEFT's files: trained on, or compared. Throws `UNSUPPORTED_ADAPTER`. */
export function prepareAdapter(adapter: Adapter, name: string): PreparedAdapter {
  refuseFoldedOnly(adapter);
  requireNoWrapped(adapter, "put on a graph");
  const { config, method, targets, implied } = adapter;
  const selection: Record<string, Json> = {};
  for (const field of [
    "target_modules",
    "exclude_modules",
    "layers_to_transform",
    "layers_pattern",
    "modules_to_save",
    "task_type",
    "bias",
  ]) {
    selection[field] = config.values[field] ?? null;
  }
  const first = [...adapter.modules.values()][0]?.options ?? implied?.optionsOf("") ?? {};
  const dropoutField = Object.keys(method.files.fields).find((field) => field.endsWith("_dropout"));
  const dropout = dropoutField === undefined ? 0 : Number(config.values[dropoutField] ?? 0);
  return {
    name,
    method,
    dropout: Number.isFinite(dropout) && dropout >= 0 && dropout < 1 ? dropout : 0,
    options: first,
    selection,
    targets,
    source: adapter,
    ownOptions: (path) => adapter.modules.get(path)?.options ?? implied?.optionsOf(path) ?? {},
  };
}

/** Modules of a second method in one file (trained tokens beside a LoRA) change weights only when they are folded. */
function refuseFoldedOnly({ method, modules, location }: Adapter): void {
  const other = [...modules.values()].find((each) => each.method !== method);
  if (other === undefined) return;
  throw new LoomweightError({
    code: "UNSUPPORTED_ADAPTER",
    problem: `a part of this ${method.name} adapter is not put on graphs`,
    file: location,
    found: `${other.method.name} on "${other.path}"`,
    fix: "Fold it.",
  });
}

/** Parameters of one module as the file has them, in the shapes that the method computes with. */
export async function parametersFromFile(
  adapter: Adapter,
  path: string,
  shapes: Readonly<Record<string, readonly number[]>>,
): Promise<Readonly<Record<string, Tensor>> | undefined> {
  const module = adapter.modules.get(path);
  if (module === undefined) return undefined;
  const read: Record<string, Tensor> = {};
  for (const [param, shape] of Object.entries(shapes)) {
    const info = module.params.get(param);
    if (info === undefined) {
      throw new LoomweightError({
        code: "MISSING_TENSOR",
        problem: `the adapter's file has no ${param} for "${path}"`,
        file: adapter.location,
        expected: `[${shape}]`,
      });
    }
    read[param] = reshapedTo(await adapter.checkpoint.read(info.name), shape, info.name);
  }
  return read;
}

function reshapedTo(tensor: Tensor, shape: readonly number[], name: string): Tensor {
  const count = (sizes: readonly number[]) => sizes.reduce((product, size) => product * size, 1);
  if (count(tensor.shape) !== count(shape)) {
    throw new LoomweightError({
      code: "SHAPE_MISMATCH",
      problem: "an adapter's tensor does not fit the layer",
      tensor: name,
      expected: `[${shape}]`,
      found: `[${tensor.shape}]`,
      fix: "The adapter belongs to another base model, or its configuration was edited.",
    });
  }
  const stride = shape.map((_, axis) => count(shape.slice(axis + 1)));
  return { ...tensor, shape: [...shape], stride };
}

function outOfRange(option: string, found: unknown, expected: string): LoomweightError {
  return new LoomweightError({
    code: "INVALID_OPTION",
    problem: "invalid value",
    option,
    expected,
    found: typeof found === "string" ? JSON.stringify(found) : String(found),
  });
}
