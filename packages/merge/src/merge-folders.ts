import type { Checkpoint, ModelFolder, OutputFolder, SafetensorsPlan } from "@loomweight/checkpoint";
import { planSafetensors } from "@loomweight/checkpoint";
import { LoomweightError } from "@loomweight/tensor";
import { writeCompanions } from "./companions.ts";
import type { AnyMergeMethod } from "./define.ts";
import type { MergeTensorOptions } from "./merge-tensor.ts";
import { mergeMethods } from "./method-list.ts";
import { licenceOf, modelCard } from "./model-card.ts";
import type { MergePlan } from "./plan/plan.ts";
import { modelsOfDocuments, planDocuments } from "./plan/plan-documents.ts";
import { planCheckpoints } from "./plan-checkpoints.ts";
import { planModels } from "./plan-models.ts";
import { parseRecipeDocuments } from "./recipe/documents.ts";

export interface FolderMergeOptions extends MergeTensorOptions {
  /** Methods that the recipe may name; default all of this package. */
  readonly methods?: readonly AnyMergeMethod[];
  /** Name of the recipe, for messages. */
  readonly file?: string;
  /** Most data bytes of one weight file; default 5 GB. */
  readonly maxShardBytes?: number;
  /** Name and version of the tool, for the model card; default "Loomweight". */
  readonly tool?: string;
}

/** A merge of models that are open already, wherever they lie: planned, and ready for `executePlan`. */
export interface FolderMerge {
  readonly plan: MergePlan;
  readonly method: AnyMergeMethod;
  /** What the plan's tensors are read from, in the order of its models. */
  readonly checkpoints: readonly Checkpoint[];
  /** Where every byte of the output will lie. */
  readonly layout: SafetensorsPlan;
  /** As the recipe spells them. */
  readonly models: readonly string[];
  /** Writes what belongs to the weights: config.json, tokenizer, other companion files, README.md. */
  writeCompanions(output: Pick<OutputFolder, "writeFile" | "copyFile">): Promise<void>;
}

/**
 * Plans a recipe's merge (YAML text of one or several documents) over open models, as a page has them:
 * `openFolder` gives the model that the recipe calls by a path. The models stay the caller's to close. Weights are not
 * read. Throws as `parseRecipeDocuments` and `planDocuments`, `UNSUPPORTED_RECIPE` for `model+adapter`, and what
 * `openFolder` throws.
 */
export async function planFolders(
  recipe: string,
  openFolder: (path: string) => Promise<ModelFolder>,
  options: FolderMergeOptions = {},
): Promise<FolderMerge> {
  const { methods = mergeMethods, file, maxShardBytes, tool = "Loomweight", ...tensors } = options;
  const documents = parseRecipeDocuments(recipe, { methods, file });
  const models = new Map<string, { readonly folder: ModelFolder }>();
  for (const { key, path, adapter, place } of modelsOfDocuments(documents)) {
    if (adapter !== undefined) {
      throw new LoomweightError({
        code: "UNSUPPORTED_RECIPE",
        problem: `"${key}" names an adapter, which is folded from folders on disk only`,
        fix: "Fold the adapter into its base first (loomweight fold) and name the result.",
        ...place,
      });
    }
    models.set(key, { folder: await openFolder(path) });
  }
  const plan = planDocuments(documents, await planModels(documents, models));
  const used = [...new Set([documents.target, ...documents.documents].map(({ method }) => method))];
  const opened = new Map([...models].map(([key, { folder }]) => [key, folder.checkpoint]));
  const { method } = documents.target;
  return {
    plan,
    method,
    checkpoints: planCheckpoints(plan, opened, used, tensors),
    layout: planSafetensors(plan.tensors, { maxShardBytes }),
    models: [...models.keys()],
    async writeCompanions(output) {
      await writeCompanions(output, plan, models);
      const sources = await Promise.all(
        [...models].map(async ([reference, { folder }]) => ({ reference, licence: await licenceOf(folder) })),
      );
      await output.writeFile(
        "README.md",
        modelCard({ method: method.name, methodSource: method.source, sources, recipe, tool }),
      );
    },
  };
}
