import { plannedInfos } from "../merged-checkpoint.ts";
import { modelsOf, type RecipeDocuments } from "../recipe/documents.ts";
import type { ModelReference } from "../recipe/model-reference.ts";
import { readTokenizerFile } from "../tokenizer/tokenizer-file.ts";
import type { MergePlan } from "./plan.ts";
import { type PlanModel, type PlanOptions, planMerge } from "./plan-merge.ts";

/** The models of all documents that are no documents themselves, each once: what must be opened. */
export function modelsOfDocuments({ documents }: Pick<RecipeDocuments, "documents">): ModelReference[] {
  const names = new Set(documents.map(({ name }) => name));
  const references = documents.flatMap(modelsOf).filter(({ path }) => !names.has(path));
  return [...new Map(references.map((reference) => [reference.key, reference])).values()];
}

/**
 * Plans the target of a recipe of one or several documents, those it uses among it: nothing is written in between.
 * `models` by the key of their reference. Throws as `planMerge`.
 */
export function planDocuments(
  { documents, warnings }: RecipeDocuments,
  models: ReadonlyMap<string, PlanModel>,
  options: PlanOptions = {},
): MergePlan {
  const known = new Map(models);
  let plan: MergePlan | undefined;
  const told: string[] = [];
  for (const document of documents) {
    plan = planMerge(document, known, options);
    told.push(
      ...plan.warnings.map((warning) => (document.name === undefined ? warning : `${document.name}: ${warning}`)),
    );
    if (document.name !== undefined) known.set(document.name, documentModel(document.name, plan, known));
  }
  // A recipe has at least one document.
  return { ...(plan as MergePlan), warnings: [...new Set([...warnings, ...told])] };
}

/** A document's result as a model for the documents that use it. */
function documentModel(name: string, plan: MergePlan, models: ReadonlyMap<string, PlanModel>): PlanModel {
  const donor = models.get(plan.models[plan.tokenizer?.donor ?? plan.donor]);
  return {
    location: `document "${name}"`,
    checkpoint: { tensors: plannedInfos(plan, name) },
    config: plan.config,
    tokenizer: plan.tokenizer === undefined ? donor?.tokenizer : readTokenizerFile(plan.tokenizer.file, name),
    chatTemplate: plan.chatTemplate ?? donor?.chatTemplate,
    plan,
  };
}
