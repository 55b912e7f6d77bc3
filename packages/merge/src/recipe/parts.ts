import { LoomweightError } from "@loomweight/tensor";
import type { AnyMergeMethod } from "../define.ts";
import { describeValue, isLocatedList, type Located, type Place } from "./located.ts";
import { type ModelReference, readModelReference } from "./model-reference.ts";
import { noParameters, type Parameters, readParameters } from "./parameters.ts";
import { itemAt, list, mapping, requireKnownKeys, wrongKind } from "./read.ts";
import { type LayerShuffle, readShuffle } from "./shuffle.ts";

/** One part of models of several: a vision tower, an encoder, … */
export interface RecipeModule {
  /** As the recipe writes it; which tensors it means is for the models to say (`sortByModule`). */
  readonly name: string;
  readonly slices: readonly RecipeSlice[];
  readonly wholeModels: boolean;
  readonly parameters: Parameters;
  readonly place: Place;
}

export interface RecipeSlice {
  readonly sources: readonly RecipeSource[];
  readonly base?: ModelReference;
  readonly parameters: Parameters;
  readonly place: Place;
}

export interface RecipeSource {
  readonly model: ModelReference;
  /** Layers [start, end); absent: all. */
  readonly layers?: { readonly start: number; readonly end: number; readonly place: Place };
  readonly parameters: Parameters;
}

/** What a recipe merges: one of `models`, `slices`, `modules` and `layer_shuffle`. */
export interface RecipeParts {
  readonly slices: readonly RecipeSlice[];
  readonly wholeModels: boolean;
  readonly module: Parameters;
  readonly modules?: readonly RecipeModule[];
  readonly shuffle?: LayerShuffle;
}

/** The module that is the whole of a model with one module, as in mergekit. */
const wholeModule = "default";

/** Reads them. Throws `INVALID_RECIPE`, and what reading options throws. */
export function readParts(root: Located, method: AnyMergeMethod, warnings: string[]): RecipeParts {
  const given = ["models", "slices", "modules", "layer_shuffle"].filter((key) => itemAt(root, key) !== undefined);
  if (given.length !== 1) {
    throw new LoomweightError({
      code: "INVALID_RECIPE",
      problem: "a recipe has exactly one of models, slices, modules and layer_shuffle",
      found: given.length === 0 ? "none" : given.join(" and "),
      ...root.place,
    });
  }
  const [key] = given;
  const item = itemAt(root, key) as Located;
  if (key === "models") return { ...readModels(item, method), module: noParameters };
  if (key === "layer_shuffle") {
    const shuffle = readShuffle(item, method);
    const sources = shuffle.models.map(({ model }) => ({ model, parameters: noParameters }));
    return {
      slices: [{ sources, parameters: noParameters, place: item.place }],
      wholeModels: false,
      module: noParameters,
      shuffle,
    };
  }
  if (key === "slices") return { slices: readSlices(item, method, warnings), wholeModels: false, module: noParameters };
  const modules = readModules(item, method, warnings);
  const [first] = modules;
  if (modules.length === 1 && first.name === wholeModule) {
    return { slices: first.slices, wholeModels: first.wholeModels, module: first.parameters };
  }
  const slices = modules.flatMap((module) => module.slices);
  return { slices, wholeModels: false, module: noParameters, modules };
}

function readModels(item: Located, method: AnyMergeMethod): Pick<RecipeModule, "slices" | "wholeModels"> {
  const sources = nonEmptyList(item, "models").map((source) => readSource(source, method, "model"));
  return { slices: [{ sources, parameters: noParameters, place: item.place }], wholeModels: true };
}

function readModules(located: Located, method: AnyMergeMethod, warnings: string[]): RecipeModule[] {
  const entries = [...mapping(located, "modules")];
  if (entries.length === 0) throw wrongKind(located, "an empty mapping of modules", "at least one module");
  return entries.map(([name, { item: module, keyPlace }]) => {
    requireKnownKeys(module, "module", ["models", "slices", "parameters"]);
    const [models, slices] = [itemAt(module, "models"), itemAt(module, "slices")];
    if ((models === undefined) === (slices === undefined)) {
      const problem = `a module with ${models === undefined ? "neither models nor slices" : "both models and slices"}`;
      throw wrongKind(module, problem, "either models or slices");
    }
    if (name === wholeModule && entries.length > 1) {
      throw new LoomweightError({
        code: "INVALID_RECIPE",
        problem: `the module "${wholeModule}" is the whole model, and cannot stand beside others`,
        found: entries.map(([each]) => each).join(", "),
        ...keyPlace,
      });
    }
    return {
      name,
      ...(models === undefined
        ? { slices: readSlices(slices as Located, method, warnings), wholeModels: false }
        : readModels(models, method)),
      parameters: readParameters(itemAt(module, "parameters"), method, "module"),
      place: keyPlace,
    };
  });
}

function readSlices(located: Located, method: AnyMergeMethod, warnings: string[]): RecipeSlice[] {
  return nonEmptyList(located, "slices").map((slice) => {
    requireKnownKeys(slice, "slice", ["sources", "base_model", "parameters", "residual_weight"]);
    if (itemAt(slice, "residual_weight") !== undefined) {
      warnings.push("residual_weight of a slice has no effect (nor has it in mergekit)");
    }
    const sources = itemAt(slice, "sources");
    if (sources === undefined) throw wrongKind(slice, "a slice without sources", "sources");
    const base = itemAt(slice, "base_model");
    return {
      sources: nonEmptyList(sources, "sources").map((source) => readSource(source, method, "slice")),
      base: base === undefined ? undefined : readModelReference(base, "base_model"),
      parameters: readParameters(itemAt(slice, "parameters"), method, "slice"),
      place: slice.place,
    };
  });
}

function readSource(located: Located, method: AnyMergeMethod, within: "model" | "slice"): RecipeSource {
  const keys = within === "slice" ? ["model", "layer_range", "parameters"] : ["model", "parameters"];
  requireKnownKeys(located, within === "slice" ? "source" : "model entry", keys);
  const model = itemAt(located, "model");
  if (model === undefined) throw wrongKind(located, "an entry without model", "model: path");
  return {
    model: readModelReference(model),
    layers: within === "slice" ? readLayers(located) : undefined,
    parameters: readParameters(itemAt(located, "parameters"), method, "model"),
  };
}

function readLayers(source: Located): RecipeSource["layers"] {
  const range = itemAt(source, "layer_range");
  if (range === undefined) throw wrongKind(source, "a source without layer_range", "layer_range: [first, end]");
  const ends = isLocatedList(range.value) ? range.value.map(({ value }) => value) : [];
  const [start, end] = ends;
  if (ends.length !== 2 || !isLayer(start) || !isLayer(end) || start > end) {
    throw new LoomweightError({
      code: "INVALID_RECIPE",
      problem: "layer_range has the wrong form",
      expected: "[first, end]: two whole numbers, the second not smaller and itself not included",
      found: isLocatedList(range.value) ? `[${range.value.map(describeValue).join(", ")}]` : describeValue(range),
      ...range.place,
    });
  }
  return { start, end, place: range.place };
}

const isLayer = (value: unknown): value is number =>
  typeof value === "number" && Number.isSafeInteger(value) && value >= 0;

function nonEmptyList(located: Located, what: string): readonly Located[] {
  const items = list(located, what);
  if (items.length === 0) throw wrongKind(located, `an empty list of ${what}`, "at least one entry");
  return items;
}
