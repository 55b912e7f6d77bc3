import { invalidOption, LoomweightError } from "@loomweight/tensor";
import type { Json, PeftConfig } from "./format.ts";
import { compilePattern, type Pattern, patternBudget } from "./pattern.ts";

/** Which modules an adapter changes, by the rules of PEFT. Paths are without the `base_model.model.` of the keys. */
export interface Targets {
  /** Whether the module gets an adapter. */
  isTarget(path: string): boolean;
  /** Whether the module's own parameters are stored and replace the base's (`modules_to_save`); so are those below it. */
  isSaved(path: string): boolean;
  /** Entries of target_modules, for messages. */
  readonly entries: readonly string[];
  /** `none`, `all`, or the name for "biases of adapted modules". */
  readonly bias: "none" | "all" | "adapted";
}

const maximalEntries = 100_000;
/** Names in modules_to_save, which are compared with every part of every path. */
const maximalSaved = 1_000;
const headsOfTasks: Readonly<Record<string, readonly string[]>> = {
  SEQ_CLS: ["classifier", "score"],
  TOKEN_CLS: ["classifier", "score"],
  QUESTION_ANS: ["qa_outputs"],
};

/**
 * Reads the target fields of a checked configuration. `fileDecides`: without target_modules every module of which the
 * file holds tensors is a target. `mayBeNone`: an adapter of single parameters may select no module. Throws `INVALID_OPTION` and what patterns throw.
 */
export function readTargets(
  config: PeftConfig,
  file: string,
  biasOfAdapted: readonly string[],
  fileDecides = false,
  mayBeNone = false,
): Targets {
  const targets = names(config.target_modules, "target_modules", file, true);
  const excluded = names(config.exclude_modules, "exclude_modules", file, true);
  const saved = names(config.modules_to_save, "modules_to_save", file, false);
  if (saved !== undefined && saved.length > maximalSaved) {
    throw invalidOption({ option: "modules_to_save", file }, `${saved.length} names`, `at most ${maximalSaved} names`);
  }
  const heads = typeof config.task_type === "string" ? (headsOfTasks[config.task_type] ?? []) : [];
  const savedNames = [...((saved as readonly string[] | undefined) ?? []), ...heads];
  const layers = layerIndexes(config.layers_to_transform, file);
  const layerNames = names(config.layers_pattern, "layers_pattern", file, true);
  const open = fileDecides && targets === undefined;
  if (!open && !mayBeNone && (targets === undefined || targets.length === 0)) {
    throw new LoomweightError({
      code: "MISSING_OPTION",
      problem: "the adapter does not say which modules it adapts",
      file,
      option: "target_modules",
      expected: "a list of module names or a pattern",
      found: JSON.stringify(config.target_modules ?? null),
    });
  }
  if (typeof targets === "string" && layers !== undefined) {
    throw invalidOption({ option: "layers_to_transform", file }, "a value", "null beside a pattern as target_modules");
  }
  if (targets === "all-linear") {
    throw new LoomweightError({
      code: "UNSUPPORTED_ADAPTER",
      problem: `"all-linear" does not name the modules; PEFT writes the list of them into the file`,
      file,
      option: "target_modules",
      fix: "List the modules by name.",
    });
  }
  const targeted = targets === undefined ? () => !mayBeNone : matcher(targets, "target_modules", file);
  const refused = matcher(excluded ?? [], "exclude_modules", file);
  const inLayer = layerMatcher(layers, layerNames);
  return {
    isTarget: (path) => targeted(path) && !refused(path) && inLayer(path) && !savedAbove(path, savedNames),
    isSaved: (path) => savedAbove(path, savedNames),
    entries: targets === undefined ? [] : typeof targets === "string" ? [targets] : targets,
    bias: readBias(config.bias, file, biasOfAdapted),
  };
}

/** Whether the module or one that contains it ends with one of the names; no dot needed, as PEFT has it. */
function savedAbove(path: string, saved: readonly string[]): boolean {
  if (saved.length === 0) return false;
  for (let end = path.length; end > 0; end = path.lastIndexOf(".", end - 1)) {
    const module = path.slice(0, end);
    if (saved.some((name) => module.endsWith(name))) return true;
  }
  return false;
}

function matcher(wanted: string | readonly string[], option: string, file: string): (path: string) => boolean {
  if (typeof wanted === "string") {
    const pattern: Pattern = compilePattern(wanted, { option, file });
    return (path) => pattern.matchesWhole(path);
  }
  const known = new Set(wanted);
  return (path) => {
    for (let begin = 0; ; begin++) {
      if (known.has(path.slice(begin))) return true;
      begin = path.indexOf(".", begin);
      if (begin < 0) return false;
    }
  };
}

/** Layers by number: the first `.<name>.<number>.` of the path, or the one after a name in `layers_pattern`. */
function layerMatcher(
  layers: readonly number[] | undefined,
  layerNames: string | readonly string[] | undefined,
): (path: string) => boolean {
  if (layers === undefined) return () => true;
  const wanted = new Set(layers);
  const allowed = layerNames === undefined || layerNames.length === 0 ? undefined : [layerNames].flat();
  return (path) => {
    const parts = path.split(".");
    // Something before the name, and something after the number.
    for (let i = 1; i + 2 < parts.length; i++) {
      if (!/^\d{1,9}$/.test(parts[i + 1])) continue;
      if (allowed === undefined || allowed.includes(parts[i])) return wanted.has(Number(parts[i + 1]));
    }
    return false;
  };
}

function layerIndexes(value: Json | undefined, file: string): readonly number[] | undefined {
  if (value === null || value === undefined) return undefined;
  const list = Array.isArray(value) ? value : [value];
  if (list.length > maximalEntries || !list.every((each) => Number.isSafeInteger(each) && (each as number) >= 0)) {
    throw invalidOption({ option: "layers_to_transform", file }, JSON.stringify(value).slice(0, 200), "layer numbers");
  }
  return list.length === 0 ? undefined : (list as number[]);
}

function names(
  value: Json | undefined,
  option: string,
  file: string,
  text: boolean,
): string | readonly string[] | undefined {
  if (value === null || value === undefined) return undefined;
  if (typeof value === "string" && text) return value;
  if (Array.isArray(value) && value.length <= maximalEntries && value.every((each) => typeof each === "string"))
    return value;
  throw invalidOption(
    { option, file },
    JSON.stringify(value).slice(0, 200),
    `a list of names${text ? " or a pattern" : ""}`,
  );
}

function readBias(value: Json | undefined, file: string, biasOfAdapted: readonly string[]): Targets["bias"] {
  if (value === "none" || value === "all") return value;
  if (typeof value === "string" && biasOfAdapted.includes(value)) return "adapted";
  throw invalidOption({ option: "bias", file }, value, ["none", "all", ...biasOfAdapted].join(", "));
}

/**
 * {pattern: number} of rank_pattern and alpha_pattern: the number of the first key that matches
 * `re.match(r"(.*\.)?(KEY)$", path)`.
 */
export function readPatterns(
  value: Json | undefined,
  option: string,
  file: string,
): (path: string) => Json | undefined {
  if (value === null || value === undefined) return () => undefined;
  if (typeof value !== "object" || Array.isArray(value)) {
    throw invalidOption({ option, file }, JSON.stringify(value).slice(0, 200), "an object of {module: number}");
  }
  const entries = Object.entries(value as PeftConfig);
  if (entries.length > maximalEntries)
    throw invalidOption({ option, file }, entries.length, `at most ${maximalEntries} entries`);
  const budget = patternBudget();
  const matchers = entries.map(([key]) => {
    // Plain names need no engine; EVA writes one for each module.
    if (/^[\w.]+$/.test(key)) return (path: string) => endsWithKey(path, key);
    const pattern = compilePattern(`(${key})$`, { option: `${option}.${key}`, file }, budget);
    return (path: string) => partStarts(path).some((start) => pattern.matchesAt(path, start));
  });
  return (path) => {
    budget.steps -= matchers.length;
    if (budget.steps < 0) {
      throw new LoomweightError({
        code: "PATTERN_TOO_COMPLEX",
        problem: "too many patterns for so many modules",
        option,
        file,
      });
    }
    const first = matchers.findIndex((matches) => matches(path));
    return first < 0 ? undefined : entries[first][1];
  };
}

/** Where `(.*\.)?` can end: at the start and after each dot. */
function partStarts(path: string): number[] {
  const starts = [0];
  let at = 0;
  for (const character of path) {
    at++;
    if (character === "\n") break;
    if (character === ".") starts.push(at);
  }
  return starts;
}

/** `(.*\.)?(KEY)$` for a key of word characters and dots, where a dot stands for any character. */
function endsWithKey(path: string, key: string): boolean {
  const begin = path.length - key.length;
  if (begin < 0 || (begin > 0 && path[begin - 1] !== ".")) return false;
  for (let i = 0; i < key.length; i++) if (key[i] !== "." && key[i] !== path[begin + i]) return false;
  return true;
}
