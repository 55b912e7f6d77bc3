import type { TensorInfo } from "@loomweight/checkpoint";
import type { Recipe } from "../recipe/recipe.ts";
import type { LayerOrigin, PickedLayers } from "./config.ts";
import { sortByLayer } from "./layers.ts";
import { layerCountOf, type PlacedModule, placeModules } from "./modules.ts";
import type { TensorPlan } from "./plan.ts";
import { copyTensor, planTensor } from "./plan-tensor.ts";
import { type OpenModel, type PlannedSlice, planSlice, shuffled } from "./slices.ts";
import { layerSlots, outsideSlots } from "./slots.ts";

/** What is merged under one list of slices: the whole of the models, or one module of them. */
export interface PlannedPart {
  readonly slices: readonly PlannedSlice[];
  /** Whether it takes all layers of its models. */
  readonly wholeModels: boolean;
  readonly module: PlacedModule | undefined;
  readonly tensors: readonly TensorPlan[];
}

export function planPart(
  recipe: Recipe,
  byKey: ReadonlyMap<string, OpenModel>,
  module: PlacedModule | undefined,
  raw: boolean,
  warnings: string[],
): PlannedPart {
  const pieces = recipe.shuffle === undefined ? recipe.slices : shuffled(recipe, recipe.shuffle, byKey);
  const slices = pieces.map((slice) => planSlice(recipe, slice, byKey, warnings));
  const slots = [...layerSlots(recipe, slices), ...outsideSlots(recipe, slices, raw)];
  const tensors = slots
    .map((slot) => planTensor(recipe, slot, warnings))
    .filter((tensor): tensor is TensorPlan => tensor !== undefined);
  return { slices, wholeModels: recipe.wholeModels, module, tensors };
}

/**
 * Plans every module over the tensors that are its own. What belongs to no module is taken from the base (or first)
 * model, so that the result is whole: mergekit leaves it out.
 */
export function planModules(
  recipe: Recipe,
  byKey: ReadonlyMap<string, OpenModel>,
  donor: OpenModel,
  raw: boolean,
  warnings: string[],
): PlannedPart[] {
  const stored = tensorsOf(donor);
  const { modules, moduleOf } = placeModules(recipe.modules ?? [], stored, donor.reference.key);
  const parts = modules.map((placed): PlannedPart => {
    const { slices, wholeModels, parameters } = placed.module;
    const own = new Map(
      [...byKey].map(([key, model]): [string, OpenModel] => {
        const tensors = new Map([...tensorsOf(model)].filter(([name]) => moduleOf(name) === placed));
        return [key, { ...model, layers: raw ? { stacks: new Map(), outside: tensors } : sortByLayer(tensors) }];
      }),
    );
    const [, ...shared] = recipe.parameters;
    return planPart(
      { ...recipe, slices, wholeModels, parameters: [parameters, ...shared] },
      own,
      placed,
      raw,
      warnings,
    );
  });
  const left = [...stored.values()].filter(({ name }) => moduleOf(name) === undefined);
  if (left.length > 0) {
    warnings.push(
      `${left.length} tensors belong to no module of the recipe and are those of ${donor.reference.key} (${left[0].name}${left.length > 1 ? ", …" : ""})`,
    );
    const tensors = left.map((info) => copyTensor(info, donor.index, recipe.dtype));
    parts.push({ slices: [], wholeModels: true, module: undefined, tensors });
  }
  return parts;
}

function tensorsOf({ layers }: OpenModel): ReadonlyMap<string, TensorInfo> {
  const inside = [...layers.stacks.values()].flatMap((stack) => stack.flatMap((layer) => [...layer.values()]));
  return new Map([...inside, ...layers.outside.values()].map((info) => [info.name, info]));
}

/** The layers that a part picks, for the place in the configuration that counts them. */
export function pickedLayers(
  { slices, wholeModels, module }: PlannedPart,
  config: Readonly<Record<string, unknown>>,
  warnings: string[],
): PickedLayers[] {
  if (wholeModels) return [];
  const origins = layerOrigins(slices);
  if (module === undefined) return [{ origins }];
  const place = layerCountOf(module, config);
  if (place !== undefined) return [{ origins, ...place }];
  warnings.push(
    `config.json says nowhere how many layers the module "${module.module.name}" has: check it (${origins.length} now)`,
  );
  return [];
}

function layerOrigins(slices: readonly PlannedSlice[]): LayerOrigin[] {
  return slices.flatMap(({ inputs: [{ model, start }], length = 0 }) =>
    Array.from({ length }, (_, layer) => ({ config: model.folder.config, layer: start + layer })),
  );
}
