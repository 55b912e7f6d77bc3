import { isPlainRelativePath } from "@loomweight/checkpoint";
import { type DType, LoomweightError, unknownName } from "@loomweight/tensor";
import type { AnyMergeMethod } from "../define.ts";
import { chooseChatTemplate } from "../tokenizer/chat-template.ts";
import type { Located, Place } from "./located.ts";
import { type ModelReference, readModelReference } from "./model-reference.ts";
import { type Parameters, readParameters } from "./parameters.ts";
import { type RecipeModule, type RecipeSlice, readParts } from "./parts.ts";
import { locatePlain } from "./plain.ts";
import { itemAt, mapping, requireKnownKeys, textAt, wrongKind } from "./read.ts";
import type { LayerShuffle } from "./shuffle.ts";
import { type RecipeTokenizer, readTokenizer } from "./tokenizer.ts";
import { locateYaml } from "./yaml.ts";

export type { RecipeModule, RecipeSlice, RecipeSource } from "./parts.ts";

/** A merge recipe, checked: mergekit's YAML as data. */
export interface Recipe {
  readonly file?: string;
  /** What the other documents of the recipe call its result; undefined: it is the output. */
  readonly name?: string;
  readonly method: AnyMergeMethod;
  readonly base?: ModelReference;
  /** One slice without layer ranges where the recipe lists `models`; with `modules`, the slices of all of them. */
  readonly slices: readonly RecipeSlice[];
  /** Whether the recipe lists `models` (all layers of each) rather than slices. */
  readonly wholeModels: boolean;
  /** Set where parts of the models are merged each in its own way: at least one, none of them `default`. */
  readonly modules?: readonly RecipeModule[];
  /** Set where the slices are to be drawn at random; `slices` then lists the models. Not in mergekit's recipes: a tool there. */
  readonly shuffle?: LayerShuffle;
  /** Levels after the slice's own: the module's, then the recipe's. */
  readonly parameters: readonly Parameters[];
  /** dtype of the output: `out_dtype`, else `dtype`. */
  readonly dtype?: DType;
  /** The tokenizer of the result; undefined: that of the base (or first) model, and its embeddings as they are. */
  readonly tokenizer?: RecipeTokenizer;
  /** `auto`, the name of a built-in template, or its text; checked. */
  readonly chatTemplate?: { readonly setting: string; readonly place: Place };
  /** A tensor that a model lacks is that of the base, instead of an error. Not in mergekit's recipes: a tool there. */
  readonly fillMissing: boolean;
  /** Where the recipe begins. */
  readonly place: Place;
  /** What was accepted but has no effect. */
  readonly warnings: readonly string[];
}

export interface RecipeContext {
  /** Methods that `merge_method` may name. */
  readonly methods: readonly AnyMergeMethod[];
  /** Name of the recipe's file, for messages. */
  readonly file?: string;
}

/** mergekit's methods; those without a definition are refused by name. */
const mergekitMethods =
  "linear slerp nuslerp multislerp karcher passthrough task_arithmetic ties dare_linear dare_ties della della_linear breadcrumbs breadcrumbs_ties model_stock nearswap sce arcee_fusion ram ramplus_tl".split(
    " ",
  );
const recipeKeys =
  "name merge_method models slices modules base_model dtype out_dtype parameters tokenizer_source tokenizer chat_template fill_missing layer_shuffle".split(
    " ",
  );
const dtypes = new Map<string, DType>([
  ["float32", "float32"],
  ["float16", "float16"],
  ["bfloat16", "bfloat16"],
]);

/**
 * Reads a recipe of one document from YAML text or from an object of the same shape (several documents:
 * `parseRecipeDocuments`). Throws `LoomweightError` with line and column: `INVALID_YAML`, `UNKNOWN_KEY`,
 * `UNKNOWN_OPTION`, `INVALID_OPTION`, `UNKNOWN_METHOD`, `UNSUPPORTED_RECIPE`, …
 */
export function parseRecipe(recipe: string | object, context: RecipeContext): Recipe {
  const { file } = context;
  return readRecipe(typeof recipe === "string" ? locateYaml(recipe, file) : locatePlain(recipe, file), context);
}

/** The recipe of one document. Throws as `parseRecipe`. */
export function readRecipe(root: Located, context: RecipeContext): Recipe {
  const { file } = context;
  refuseExperts(root);
  requireKnownKeys(root, "recipe", recipeKeys);
  const method = readMethod(root, context.methods);
  const warnings: string[] = [];
  const base = itemAt(root, "base_model");
  const shared = readParameters(itemAt(root, "parameters"), method, "recipe");
  const parts = readParts(root, method, warnings);
  return {
    file,
    name: readName(root),
    method,
    base: base === undefined ? undefined : readModelReference(base, "base_model"),
    slices: parts.slices,
    wholeModels: parts.wholeModels,
    modules: parts.modules,
    shuffle: parts.shuffle,
    parameters: [parts.module, shared],
    dtype: readDType(root, "out_dtype") ?? readDType(root, "dtype"),
    tokenizer: readTokenizer(root),
    chatTemplate: readChatTemplate(root),
    fillMissing: readFillMissing(root, base),
    place: root.place,
    warnings,
  };
}

/** A name that could be a folder: other tools write documents to folders of their names, so it must not leave its own. */
function readName(root: Located): string | undefined {
  const name = textAt(root, "name");
  if (name === undefined || (isPlainRelativePath(name) && !name.includes("+") && !name.includes("@"))) return name;
  throw new LoomweightError({
    code: "UNSAFE_NAME",
    problem: "the name of a document is not a plain name",
    found: JSON.stringify(name.slice(0, 200)),
    fix: "Use letters, digits, dashes and underscores: no .., no absolute path, no + and no @.",
    ...itemAt(root, "name")?.place,
  });
}

function readChatTemplate(root: Located): Recipe["chatTemplate"] {
  const setting = textAt(root, "chat_template");
  if (setting === undefined) return undefined;
  const place = itemAt(root, "chat_template")?.place ?? root.place;
  chooseChatTemplate(setting, [], place);
  return { setting, place };
}

function readFillMissing(root: Located, base: Located | undefined): boolean {
  const item = itemAt(root, "fill_missing");
  if (item === undefined) return false;
  if (typeof item.value !== "boolean") throw wrongKind(item, "fill_missing", "true or false");
  if (item.value && base === undefined) {
    throw wrongKind(item, "fill_missing without base_model", "a base_model, whose tensors fill the gaps");
  }
  return item.value;
}

function refuseExperts(root: Located): void {
  const entries = mapping(root, "recipe");
  for (const key of ["experts", "gate_mode"]) {
    const entry = entries.get(key);
    if (entry === undefined || entry.item.value === null) continue;
    throw new LoomweightError({
      code: "UNSUPPORTED_RECIPE",
      problem: `${key}: mixtures of experts are known to mergekit, not built yet`,
      ...entry.keyPlace,
    });
  }
}

function readMethod(root: Located, methods: readonly AnyMergeMethod[]): AnyMergeMethod {
  const name = textAt(root, "merge_method");
  if (name === undefined) {
    throw new LoomweightError({
      code: "INVALID_RECIPE",
      problem: "the recipe has no merge_method",
      expected: methods.map((each) => each.name.replaceAll("-", "_")).join(", "),
      ...root.place,
    });
  }
  const place = itemAt(root, "merge_method")?.place ?? root.place;
  const method = methods.find((each) => each.name === name.replaceAll("_", "-"));
  if (method !== undefined) return method;
  if (mergekitMethods.includes(name.replaceAll("-", "_"))) {
    throw new LoomweightError({
      code: "UNSUPPORTED_METHOD",
      problem: `merge method "${name}" is known to mergekit, not built yet`,
      expected: methods.map((each) => each.name.replaceAll("-", "_")).join(", "),
      ...place,
    });
  }
  throw unknownName({
    kind: "merge method",
    name,
    known: methods.map((each) => each.name.replaceAll("-", "_")),
    code: "UNKNOWN_METHOD",
    ...place,
  });
}

function readDType(root: Located, key: string): DType | undefined {
  const text = textAt(root, key);
  if (text === undefined) return undefined;
  const dtype = dtypes.get(text.replace(/^torch\./, ""));
  if (dtype !== undefined) return dtype;
  throw unknownName({
    kind: key,
    name: text,
    known: dtypes.keys(),
    code: "INVALID_OPTION",
    fix: `Known: ${[...dtypes.keys()].join(", ")}.`,
    ...itemAt(root, key)?.place,
  });
}
