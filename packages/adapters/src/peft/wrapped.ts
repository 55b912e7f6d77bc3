import type { TensorInfo } from "@loomweight/checkpoint";
import { LoomweightError, type OptionSpecs, type OptionValues } from "@loomweight/tensor";
import type { AdapterMethod } from "../define.ts";
import type { PeftConfig } from "./format.ts";

/** The two factors that PEFT stores for one parameter of `target_parameters`, for all experts together. */
export interface WrappedFactors {
  /** [experts · rank, in]; the experts one after the other. */
  readonly A: TensorInfo;
  /** [out, rank · experts]; the experts run fastest. */
  readonly B: TensorInfo;
}

/**
 * A module of which single parameters are adapted (the experts of a mixture). Its file does not name them: PEFT nests
 * one wrapper in the next, the first parameter of the module innermost.
 */
export interface WrappedModule {
  /** Path of the module that holds the parameters: "model.layers.0.mlp.experts". */
  readonly path: string;
  /** Outermost first. */
  readonly wrappers: readonly WrappedFactors[];
}

/** What `target_parameters` of a file selects. */
export interface WrappedParameters {
  /** Entries of target_parameters. */
  readonly entries: readonly string[];
  /** Whether the parameter of this full name is adapted: it is an entry, or ends with "." and one. */
  isTarget(name: string): boolean;
  readonly modules: ReadonlyMap<string, WrappedModule>;
  /** The options of a parameter by its full name. Throws `INVALID_OPTION`. */
  optionsOf(name: string): OptionValues<OptionSpecs>;
}

const maximalEntries = 10_000;
/** Nested wrappers of one module. */
const maximalDepth = 8;
const wrapperKey = /^(.+?)((?:\.base_layer)*)\.lora_([AB])\.weight$/;

/**
 * Checks target_parameters and what PEFT cannot combine it with. Undefined where the file has none. Throws
 * `INVALID_OPTION`, `UNSUPPORTED_ADAPTER`.
 */
export function readTargetParameters(
  values: PeftConfig,
  method: AdapterMethod,
  file: string,
): readonly string[] | undefined {
  const list = values.target_parameters;
  if (list === null || list === undefined || (Array.isArray(list) && list.length === 0)) return undefined;
  const place = { file, option: "target_parameters" };
  if (!Array.isArray(list) || list.length > maximalEntries || !list.every((each) => typeof each === "string")) {
    throw new LoomweightError({
      code: "INVALID_OPTION",
      problem: "target_parameters is a list of names",
      ...place,
      found: JSON.stringify(list).slice(0, 200),
    });
  }
  const clash = ["fan_in_fan_out", "lora_bias"].find((field) => values[field] === true);
  if (method.files.singleParameters !== true || clash !== undefined || typeof values.init_lora_weights === "string") {
    throw new LoomweightError({
      code: "UNSUPPORTED_ADAPTER",
      problem: `parameters (target_parameters) take a plain LoRA only, not ${clash ?? (method.name === "lora" ? `init_lora_weights ${JSON.stringify(values.init_lora_weights)}` : method.name)}`,
      ...place,
      fix: "PEFT does not build such an adapter either: the configuration was edited.",
    });
  }
  return list as readonly string[];
}

/** Refuses an adapter of single parameters where `use` knows modules only. Throws `UNSUPPORTED_ADAPTER`. */
export function requireNoWrapped(
  adapter: { readonly location: string; readonly wrapped?: WrappedParameters },
  use: string,
): void {
  if (adapter.wrapped === undefined) return;
  throw new LoomweightError({
    code: "UNSUPPORTED_ADAPTER",
    problem: `an adapter of single parameters (target_parameters) cannot be ${use}`,
    file: adapter.location,
    option: "target_parameters",
    found: adapter.wrapped.entries.slice(0, 4).join(", "),
    fix: "Fold it into its base model.",
  });
}

/** Whether a full parameter name is one of `entries`, by PEFT's rule. */
export function isTargetParameter(entries: readonly string[], name: string): boolean {
  return entries.some((entry) => name === entry || name.endsWith(`.${entry}`));
}

/** Collects the keys of wrappers while a file is read. */
export interface WrapperDrafts {
  /** Takes the tensor where its key (without prefix) is one of a wrapper. */
  take(path: string, info: TensorInfo): boolean;
  /** All wrapped modules. Throws `MISSING_TENSOR` where a factor is not there. */
  finish(file: string): ReadonlyMap<string, WrappedModule>;
}

/** `isModule`: whether a path is a module target itself, whose factors are not those of a wrapper. */
export function createWrapperDrafts(isModule: (path: string) => boolean): WrapperDrafts {
  const drafts = new Map<string, Map<number, { A?: TensorInfo; B?: TensorInfo }>>();
  return {
    take(path, info) {
      const match = wrapperKey.exec(path);
      if (match === null) return false;
      const [, module, nesting, factor] = match;
      const depth = nesting.length / ".base_layer".length;
      if (depth >= maximalDepth || (depth === 0 && isModule(module))) return false;
      const levels = drafts.get(module) ?? new Map();
      drafts.set(module, levels);
      const level = levels.get(depth) ?? {};
      level[factor as "A" | "B"] = info;
      levels.set(depth, level);
      return true;
    },
    finish(file) {
      const modules = new Map<string, WrappedModule>();
      for (const [path, levels] of drafts) {
        const wrappers: WrappedFactors[] = [];
        for (let depth = 0; depth < levels.size; depth++) {
          const { A, B } = levels.get(depth) ?? {};
          if (A === undefined || B === undefined) {
            throw new LoomweightError({
              code: "MISSING_TENSOR",
              problem: `the adapter's wrapped module "${path}" lacks a factor`,
              file,
              expected: `${path}${".base_layer".repeat(depth)}.lora_${A === undefined ? "A" : "B"}.weight`,
              fix: "The file is incomplete; save the adapter again.",
            });
          }
          wrappers.push({ A, B });
        }
        modules.set(path, { path, wrappers });
      }
      return modules;
    },
  };
}
