import type { Checkpoint } from "@loomweight/checkpoint";
import { LoomweightError } from "@loomweight/tensor";
import { modelsOf } from "../recipe/documents.ts";
import type { ModelReference } from "../recipe/model-reference.ts";
import type { Recipe } from "../recipe/recipe.ts";
import { chooseChatTemplate } from "../tokenizer/chat-template.ts";
import type { TokenizerFile } from "../tokenizer/tokenizer-file.ts";
import { rewriteConfig } from "./config.ts";
import { sortByLayer } from "./layers.ts";
import { pickedLayers, planModules, planPart } from "./parts.ts";
import type { MergePlan, TensorPlan } from "./plan.ts";
import { planTokenizer } from "./plan-tokenizer.ts";
import { refuseUnlikeModels } from "./refusals.ts";
import type { OpenModel } from "./slices.ts";

export { modelsOf };

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
  /** Present: an adapter that is folded into that document, as the recipe spells it. */
  readonly adapter?: string;
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
  const donor = byKey.get((recipe.base ?? recipe.slices[0].sources[0].model).key) as OpenModel;
  const parts =
    recipe.modules === undefined
      ? [planPart(recipe, byKey, undefined, raw, warnings)]
      : planModules(recipe, byKey, donor, raw, warnings);
  const tensors = parts.flatMap((part) => part.tensors);
  if (tensors.length === 0)
    throw new LoomweightError({ code: "EMPTY_MERGE", problem: "nothing would be written", file: recipe.file });
  refuseDuplicates(tensors);
  const config = raw ? undefined : donor.folder.config;
  const documents = Object.fromEntries(open.flatMap(({ index, folder: { plan } }) => (plan ? [[index, plan]] : [])));
  const adapters = Object.fromEntries(
    open.flatMap(({ index, folder: { adapter } }) => (adapter === undefined ? [] : [[index, adapter]])),
  );
  return {
    method: recipe.method.name,
    models: references.map(({ key }) => key),
    tensors,
    config:
      config === undefined
        ? undefined
        : rewriteConfig(config, {
            layers: parts.flatMap((part) => pickedLayers(part, config, warnings)),
            tensors,
            dtype: recipe.dtype,
            specialTokens: vocabulary && open[vocabulary.tokenizer.donor].folder.config,
          }),
    donor: donor.index,
    ...(Object.keys(documents).length > 0 && { documents }),
    ...(Object.keys(adapters).length > 0 && { adapters }),
    ...(vocabulary && { vocabulary: vocabulary.rows, tokenizer: vocabulary.tokenizer }),
    ...planChatTemplate(recipe, folders, warnings),
    warnings: [...new Set([...(vocabulary?.warnings ?? []), ...warnings])],
  };
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
