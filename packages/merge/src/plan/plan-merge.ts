import type { Checkpoint, TensorInfo } from "@loomweight/checkpoint";
import { LoomweightError } from "@loomweight/tensor";
import { modelsOf } from "../recipe/documents.ts";
import type { ModelReference } from "../recipe/model-reference.ts";
import type { Recipe, RecipeSlice } from "../recipe/recipe.ts";
import { drawLayers, type LayerShuffle } from "../recipe/shuffle.ts";
import { chooseChatTemplate } from "../tokenizer/chat-template.ts";
import type { TokenizerFile } from "../tokenizer/tokenizer-file.ts";
import { type LayerOrigin, rewriteConfig } from "./config.ts";
import { type ModelLayers, sortByLayer } from "./layers.ts";
import type { MergePlan, TensorPlan } from "./plan.ts";
import { planTensor, type SlotInput, type TensorSlot } from "./plan-tensor.ts";
import { planTokenizer } from "./plan-tokenizer.ts";
import { refuseUnlikeModels } from "./refusals.ts";
import { type OutsideRole, outsideRole } from "./roles.ts";

export { modelsOf };

/** One model of a recipe, opened. */
interface OpenModel {
  readonly index: number;
  readonly reference: ModelReference;
  readonly folder: PlanModel;
  readonly layers: ModelLayers;
}

/** One input of a slice: a model and the layers of it that take part. */
interface SliceInput {
  readonly model: OpenModel;
  readonly parameters: SlotInput["parameters"];
  /** First layer; the slice says how many. */
  readonly start: number;
}

interface PlannedSlice {
  readonly recipe: RecipeSlice;
  readonly base: ModelReference | undefined;
  readonly inputs: readonly SliceInput[];
  /** Number of layers; undefined: all of every stack. */
  readonly length: number | undefined;
}

/** A model as planning sees it; a `ModelFolder` is one. */
export interface PlanModel {
  readonly location: string;
  /** Names, shapes and dtypes; nothing is read. */
  readonly checkpoint: Pick<Checkpoint, "tensors">;
  readonly config: Readonly<Record<string, unknown>> | undefined;
  /** Read beforehand where the recipe has tokenizer settings (`readTokenizerFiles`). */
  readonly tokenizer?: TokenizerFile;
  /** Text of its chat template, read beforehand where the recipe asks for one. */
  readonly chatTemplate?: string;
  /** Present: the model is a document of the recipe, and this is its plan. */
  readonly plan?: MergePlan;
}

export interface PlanOptions {
  /**
   * Merge tensors of one name without looking for layers, embeddings or a configuration, as for plain state dicts:
   * every gradient has the value it begins with. Default false.
   */
  readonly raw?: boolean;
}

/**
 * Plans a merge from the headers of its models, `models` by the key of their reference. Nothing is read but what is
 * in memory already. Throws `LoomweightError` for everything about the recipe or the models that cannot be merged.
 */
export function planMerge(
  recipe: Recipe,
  models: ReadonlyMap<string, PlanModel>,
  { raw = false }: PlanOptions = {},
): MergePlan {
  const warnings = [...recipe.warnings];
  const references = modelsOf(recipe);
  const folders = references.map((reference): PlanModel => {
    const folder = models.get(reference.key);
    if (folder === undefined) throw notOpened(reference);
    return folder;
  });
  refuseUnlikeModels(recipe, folders);
  const vocabulary = recipe.tokenizer === undefined ? undefined : planTokenizer(recipe, references, folders);
  const open = references.map((reference, index): OpenModel => {
    const tensors = vocabulary?.tensors[index] ?? folders[index].checkpoint.tensors;
    const layers = raw ? { stacks: new Map(), outside: tensors } : sortByLayer(tensors);
    return { index, reference, folder: folders[index], layers };
  });
  const byKey = new Map(open.map((model) => [model.reference.key, model]));
  const pieces = recipe.shuffle === undefined ? recipe.slices : shuffled(recipe, recipe.shuffle, byKey);
  const slices = pieces.map((slice) => planSlice(recipe, slice, byKey, warnings));
  const slots = [...layerSlots(recipe, slices), ...outsideSlots(recipe, slices, raw)];
  const tensors = slots
    .map((slot) => planTensor(recipe, slot, warnings))
    .filter((tensor): tensor is TensorPlan => tensor !== undefined);
  if (tensors.length === 0)
    throw new LoomweightError({ code: "EMPTY_MERGE", problem: "nothing would be written", file: recipe.file });
  refuseDuplicates(tensors);
  const donor = byKey.get((recipe.base ?? recipe.slices[0].sources[0].model).key) as OpenModel;
  const config = raw ? undefined : donor.folder.config;
  const documents = Object.fromEntries(open.flatMap(({ index, folder: { plan } }) => (plan ? [[index, plan]] : [])));
  return {
    method: recipe.method.name,
    models: references.map(({ key }) => key),
    tensors,
    config:
      config === undefined
        ? undefined
        : rewriteConfig(config, {
            layers: recipe.wholeModels ? undefined : layerOrigins(slices),
            tensors,
            dtype: recipe.dtype,
            specialTokens: vocabulary && open[vocabulary.tokenizer.donor].folder.config,
          }),
    donor: donor.index,
    ...(Object.keys(documents).length > 0 && { documents }),
    ...(vocabulary && { vocabulary: vocabulary.rows, tokenizer: vocabulary.tokenizer }),
    ...planChatTemplate(recipe, folders, warnings),
    warnings: [...new Set([...(vocabulary?.warnings ?? []), ...warnings])],
  };
}

/** One slice a layer, drawn at random; all models must have as many layers. */
function shuffled(
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

function planChatTemplate(
  { chatTemplate }: Recipe,
  folders: readonly PlanModel[],
  warnings: string[],
): Pick<MergePlan, "chatTemplate"> {
  if (chatTemplate === undefined) return {};
  const templates = folders.flatMap((folder) => (folder.chatTemplate === undefined ? [] : [folder.chatTemplate]));
  const text = chooseChatTemplate(chatTemplate.setting, templates, chatTemplate.place);
  if (text !== undefined) return { chatTemplate: text };
  warnings.push("chat_template: auto, but no model has a chat template: none is written");
  return {};
}

function planSlice(
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

/** The stack of layers that slices count: the only one, or the one with the most layers. */
function mainStack({ layers, reference }: OpenModel): [string, readonly ReadonlyMap<string, TensorInfo>[]] {
  const stacks = [...layers.stacks].sort(([, a], [, b]) => b.length - a.length);
  if (stacks.length === 0 || (stacks.length > 1 && stacks[1][1].length === stacks[0][1].length)) {
    throw new LoomweightError({
      code: "NO_LAYERS",
      problem: `slices need one stack of layers, but ${reference.key} has ${stacks.length === 0 ? "none" : stacks.map(([prefix]) => prefix).join(", ")}`,
      fix: "List whole models under `models` instead.",
      ...reference.place,
    });
  }
  return stacks[0];
}

function layerSlots(recipe: Recipe, slices: readonly PlannedSlice[]): TensorSlot[] {
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
function outsideSlots(recipe: Recipe, slices: readonly PlannedSlice[], raw: boolean): TensorSlot[] {
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

function layerOrigins(slices: readonly PlannedSlice[]): LayerOrigin[] {
  return slices.flatMap(({ inputs: [{ model, start }], length = 0 }) =>
    Array.from({ length }, (_, layer) => ({ config: model.folder.config, layer: start + layer })),
  );
}

function refuseDuplicates(tensors: readonly TensorPlan[]): void {
  const seen = new Set<string>();
  for (const { name } of tensors) {
    if (seen.has(name))
      throw new LoomweightError({
        code: "DUPLICATE_TENSOR",
        problem: "two output tensors have one name",
        tensor: name,
      });
    seen.add(name);
  }
}

function notOpened(reference: ModelReference): LoomweightError {
  return new LoomweightError({
    code: "MISSING_MODEL",
    problem: `model ${reference.key} was not opened`,
    ...reference.place,
  });
}
