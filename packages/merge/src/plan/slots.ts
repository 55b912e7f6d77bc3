import type { TensorInfo } from "@loomweight/checkpoint";
import { LoomweightError } from "@loomweight/tensor";
import type { Recipe } from "../recipe/recipe.ts";
import type { SlotInput, TensorSlot } from "./plan-tensor.ts";
import { type OutsideRole, outsideRole } from "./roles.ts";
import { mainStack, type OpenModel, type PlannedSlice, type SliceInput } from "./slices.ts";

export function layerSlots(recipe: Recipe, slices: readonly PlannedSlice[]): TensorSlot[] {
  if (recipe.wholeModels) return slices.flatMap((slice) => wholeStackSlots(slice));
  const slots: TensorSlot[] = [];
  let output = 0;
  for (const slice of slices) {
    const length = slice.length ?? 0;
    const [prefix] = mainStack(slice.inputs[0].model);
    for (let layer = 0; layer < length; layer++, output++) {
      slots.push(...oneLayer(slice, prefix, output, layer, length, ({ model }) => mainStack(model)[1]));
    }
  }
  return slots;
}

function wholeStackSlots(slice: PlannedSlice): TensorSlot[] {
  const slots: TensorSlot[] = [];
  const prefixes = new Set(slice.inputs.flatMap(({ model }) => [...model.layers.stacks.keys()]));
  for (const prefix of prefixes) {
    const stackOf = ({ model }: SliceInput) => model.layers.stacks.get(prefix) ?? [];
    const length = stackOf(slice.inputs[0]).length;
    for (const input of slice.inputs) {
      const found = stackOf(input).length;
      if (found === length) continue;
      throw new LoomweightError({
        code: "LAYER_COUNTS",
        problem: `models differ in their number of layers (${prefix}*)`,
        expected: `${length} as ${slice.inputs[0].model.reference.key} has`,
        found: `${found} in ${input.model.reference.key}`,
        fix: "Pick layers with `slices`.",
        ...input.model.reference.place,
      });
    }
    for (let layer = 0; layer < length; layer++) slots.push(...oneLayer(slice, prefix, layer, layer, length, stackOf));
  }
  return slots;
}

function oneLayer(
  slice: PlannedSlice,
  prefix: string,
  output: number,
  layer: number,
  length: number,
  stackOf: (input: SliceInput) => readonly ReadonlyMap<string, TensorInfo>[],
): TensorSlot[] {
  const layers = slice.inputs.map((input) => stackOf(input)[input.start + layer]);
  const names = new Set(layers.flatMap((tensors) => [...tensors.keys()]));
  const position = length === 1 ? 1 : layer / (length - 1);
  return [...names].map((rest) => ({
    name: `${prefix}${output}${rest}`,
    position,
    role: "layer",
    parameters: slice.recipe.parameters,
    base: slice.base?.key,
    inputs: slice.inputs.map((input, index) => slotInput(input, layers[index].get(rest))),
  }));
}

/** Tensors before the layers belong to the first slice, those after them to the last. */
export function outsideSlots(recipe: Recipe, slices: readonly PlannedSlice[], raw: boolean): TensorSlot[] {
  const roleOf = (name: string): OutsideRole => (raw ? "after" : outsideRole(name));
  const first = slices[0];
  const last = slices[slices.length - 1];
  // As mergekit pairs them: no more sources than the first slice has.
  const closing: PlannedSlice = { ...last, inputs: last.inputs.slice(0, first.inputs.length) };
  const isBefore = (role: OutsideRole) => role === "embedding" || role === "before";
  const names = new Map<string, OutsideRole>();
  for (const slice of [first, closing]) {
    for (const { model } of slice.inputs) for (const name of model.layers.outside.keys()) names.set(name, roleOf(name));
  }
  return [...names]
    .map(([name, role]) => ({ name, role, slice: isBefore(role) || recipe.wholeModels ? first : closing }))
    .filter(({ name, slice }) => slice.inputs.some(({ model }) => model.layers.outside.has(name)))
    .map(({ name, role, slice }) => ({
      name,
      position: 0,
      role,
      parameters: slice.recipe.parameters,
      base: slice.base?.key,
      inputs: slice.inputs.map((input) =>
        slotInput(
          input,
          input.model.layers.outside.get(name) ?? (role === "head" ? lentEmbedding(input.model) : undefined),
        ),
      ),
    }));
}

/** A model without a head of its own uses its input embeddings. */
function lentEmbedding({ layers }: OpenModel): TensorInfo | undefined {
  return [...layers.outside.values()].find(({ name }) => outsideRole(name) === "embedding");
}

function slotInput({ model, parameters }: SliceInput, info: TensorInfo | undefined): SlotInput {
  return { model: model.index, key: model.reference.key, info, parameters };
}
