import type { Checkpoint, FileSet, ModelFolder, OutputFolder, SafetensorsPlan } from "@loomweight/checkpoint";
import { planSafetensors } from "@loomweight/checkpoint";
import { LoomweightError } from "@loomweight/tensor";
import { writeCompanions } from "./companions.ts";
import type { AnyMergeMethod } from "./define.ts";
import type { MergeTensorOptions } from "./merge-tensor.ts";
import { mergeMethods } from "./method-list.ts";
import { type ModelAdapter, openModelAdapter } from "./model-adapter.ts";
import { type CardSource, licenceOf, modelCard } from "./model-card.ts";
import type { MergePlan } from "./plan/plan.ts";
import { adaptersOfDocuments, modelsOfDocuments, planDocuments } from "./plan/plan-documents.ts";
import { planCheckpoints } from "./plan-checkpoints.ts";
import { planModels } from "./plan-models.ts";
import { parseRecipeDocuments } from "./recipe/documents.ts";
import type { ModelReference } from "./recipe/model-reference.ts";

export interface FolderMergeOptions extends MergeTensorOptions {
  /** Methods that the recipe may name; default all of this package. */
  readonly methods?: readonly AnyMergeMethod[];
  /** Name of the recipe, for messages. */
  readonly file?: string;
  /** Gives the files of the PEFT folder that the recipe calls by a path, where recipes may name adapters. */
  readonly openAdapter?: (path: string) => Promise<FileSet>;
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
 * read. Throws as `parseRecipeDocuments` and `planDocuments`, `UNSUPPORTED_RECIPE` for `model+adapter` without
 * `openAdapter`, and what `openFolder` and `openAdapter` throw.
 */
export async function planFolders(
  recipe: string,
  openFolder: (path: string) => Promise<ModelFolder>,
  options: FolderMergeOptions = {},
): Promise<FolderMerge> {
  const { methods = mergeMethods, file, maxShardBytes, tool = "Loomweight", openAdapter: _, ...tensors } = options;
  const documents = parseRecipeDocuments(recipe, { methods, file });
  const models = new Map<string, { readonly folder: ModelFolder; readonly checkpoint: Checkpoint }>();
  const adapters = new Map<string, ModelAdapter>();
  const adapterAt = async ({ adapter = "", place }: ModelReference): Promise<ModelAdapter> => {
    if (options.openAdapter === undefined) {
      throw new LoomweightError({
        code: "UNSUPPORTED_RECIPE",
        problem: `the recipe names the adapter "${adapter}", and nothing was given to open adapters with`,
        fix: "Pass openAdapter, or fold the adapter into its base first.",
        ...place,
      });
    }
    const known = adapters.get(adapter) ?? (await openModelAdapter(await options.openAdapter(adapter)));
    adapters.set(adapter, known);
    return known;
  };
  const warnings: string[] = [];
  for (const reference of modelsOfDocuments(documents)) {
    const folder = await openFolder(reference.path);
    if (reference.adapter === undefined) {
      models.set(reference.key, { folder, checkpoint: folder.checkpoint });
      continue;
    }
    const adapter = await adapterAt(reference);
    // Messages name the model, not the file that its weights lie in.
    const base = { checkpoint: { ...folder.checkpoint, location: folder.location }, config: folder.config };
    const planned = adapter.plan(base);
    const checkpoint = adapter.fold(base);
    const { tensors: infos, config } = planned;
    models.set(reference.key, {
      folder: { ...folder, checkpoint: { ...checkpoint, tensors: infos }, config },
      checkpoint,
    });
    warnings.push(...planned.warnings);
  }
  const onDocuments = adaptersOfDocuments(documents);
  for (const reference of onDocuments) await adapterAt(reference);
  const planned = planDocuments(documents, await planModels(documents, models), { adapters });
  const plan = { ...planned, warnings: [...new Set([...warnings, ...planned.warnings])] };
  const used = [...new Set([documents.target, ...documents.documents].map(({ method }) => method))];
  const opened = new Map([...models].map(([key, { checkpoint }]) => [key, checkpoint]));
  const { method } = documents.target;
  return {
    plan,
    method,
    checkpoints: planCheckpoints(plan, opened, used, tensors, adapters),
    layout: planSafetensors(plan.tensors, { maxShardBytes }),
    models: [...models.keys()],
    async writeCompanions(output) {
      await writeCompanions(output, plan, models);
      const sources: CardSource[] = await Promise.all(
        [...models].map(async ([reference, { folder }]) => ({ reference, licence: await licenceOf(folder) })),
      );
      for (const { adapter = "" } of onDocuments) sources.push({ reference: adapter, licence: undefined });
      await output.writeFile(
        "README.md",
        modelCard({ method: method.name, methodSource: method.source, sources, recipe, tool }),
      );
    },
  };
}
