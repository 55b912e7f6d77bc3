import type { TensorInfo } from "@loomweight/checkpoint";
import { LoomweightError } from "@loomweight/tensor";
import type { ModelReference } from "../recipe/model-reference.ts";
import type { RecipeSlice } from "../recipe/parts.ts";
import type { Recipe } from "../recipe/recipe.ts";
import { drawLayers, type LayerShuffle } from "../recipe/shuffle.ts";
import type { ModelLayers } from "./layers.ts";
import { partsOf } from "./modules.ts";
import type { PlanModel } from "./plan-merge.ts";
import type { SlotInput } from "./plan-tensor.ts";

/** One model of a recipe, opened. */
export interface OpenModel {
  readonly index: number;
  readonly reference: ModelReference;
  readonly folder: PlanModel;
  readonly layers: ModelLayers;
}

/** One input of a slice: a model and the layers of it that take part. */
export interface SliceInput {
  readonly model: OpenModel;
  readonly parameters: SlotInput["parameters"];
  /** First layer; the slice says how many. */
  readonly start: number;
}

export interface PlannedSlice {
  readonly recipe: RecipeSlice;
  readonly base: ModelReference | undefined;
  readonly inputs: readonly SliceInput[];
  /** Number of layers; undefined: all of every stack. */
  readonly length: number | undefined;
}

/** One slice a layer, drawn at random; all models must have as many layers. */
export function shuffled(
  recipe: Recipe,
  shuffle: LayerShuffle,
  byKey: ReadonlyMap<string, OpenModel>,
): readonly RecipeSlice[] {
  const models = shuffle.models.map(({ model }) => byKey.get(model.key) as OpenModel);
  const [first, ...others] = models.map((model) => mainStack(model)[1].length);
  const other = others.findIndex((count) => count !== first);
  if (other >= 0) {
    throw new LoomweightError({
      code: "LAYER_COUNTS",
      problem: "layers can be shuffled only among models of equal depth",
      expected: `${first} layers as ${models[0].reference.key} has`,
      found: `${others[other]} in ${models[other + 1].reference.key}`,
      ...models[other + 1].reference.place,
    });
  }
  return drawLayers(shuffle, first, recipe.slices[0].place);
}

export function planSlice(
  recipe: Recipe,
  slice: RecipeSlice,
  byKey: ReadonlyMap<string, OpenModel>,
  warnings: string[],
): PlannedSlice {
  const base = slice.base ?? recipe.base;
  const inputs = new Map<string, SliceInput>();
  let length: number | undefined;
  for (const source of slice.sources) {
    const model = byKey.get(source.model.key) as OpenModel;
    const known = inputs.get(source.model.key);
    if (known !== undefined) {
      warnings.push(
        `${source.model.key} is listed twice: it takes part once, with the parameters given first${recipe.wholeModels ? "" : " and the last layer_range"}`,
      );
    }
    const start = source.layers?.start ?? 0;
    inputs.set(source.model.key, { model, parameters: known?.parameters ?? source.parameters, start });
    if (source.layers === undefined) continue;
    const count = source.layers.end - source.layers.start;
    if (length !== undefined && count !== length) {
      throw new LoomweightError({
        code: "SLICE_LENGTHS",
        problem: "all sources of a slice must have the same number of layers",
        expected: `${length} as the first source has`,
        found: `${count} of ${source.model.key}`,
        ...source.layers.place,
      });
    }
    length = count;
    const available = mainStack(model)[1].length;
    if (source.layers.end > available) {
      throw new LoomweightError({
        code: "LAYER_OUT_OF_RANGE",
        problem: `${source.model.key} has no layer ${source.layers.end - 1}`,
        expected: `layer_range within [0, ${available}]`,
        found: `[${source.layers.start}, ${source.layers.end}]`,
        ...source.layers.place,
      });
    }
  }
  if (recipe.wholeModels && base !== undefined && !inputs.has(base.key)) {
    const model = byKey.get(base.key) as OpenModel;
    inputs.set(base.key, { model, parameters: { input: new Map(), method: new Map() }, start: 0 });
  }
  return { recipe: slice, base, inputs: [...inputs.values()], length };
}

/**
 * The stack of layers that slices count. Models of several stacks have several parts: layers of one of them alone would
 * leave the others out.
 */
export function mainStack({ layers, reference }: OpenModel): [string, readonly ReadonlyMap<string, TensorInfo>[]] {
  const stacks = [...layers.stacks];
  if (stacks.length === 1) return stacks[0];
  const names = [...layers.stacks.values()].flatMap((stack) =>
    stack.flatMap((layer) => [...layer.values()].map(({ name }) => name)),
  );
  const parts = partsOf(names);
  const found = stacks.length === 0 ? "none" : stacks.map(([prefix]) => `${prefix}*`).join(", ");
  throw new LoomweightError({
    code: "NO_LAYERS",
    problem: `slices need one stack of layers, but ${reference.key} has ${found}`,
    fix:
      parts.length > 1
        ? `Give each part its own slices or models under \`modules\`: ${parts.join(", ")}.`
        : "List whole models under `models` instead.",
    ...reference.place,
  });
}
