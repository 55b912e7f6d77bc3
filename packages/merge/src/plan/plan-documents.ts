import { LoomweightError } from "@loomweight/tensor";
import { plannedInfos } from "../merged-checkpoint.ts";
import type { ModelAdapter } from "../model-adapter.ts";
import { modelsOf, type RecipeDocuments } from "../recipe/documents.ts";
import type { ModelReference } from "../recipe/model-reference.ts";
import { readTokenizerFile } from "../tokenizer/tokenizer-file.ts";
import type { MergePlan } from "./plan.ts";
import { type PlanModel, type PlanOptions, planMerge } from "./plan-merge.ts";

export interface PlanDocumentsOptions extends PlanOptions {
  /** What `adaptersOfDocuments` lists, open, by the path that the recipe gives. */
  readonly adapters?: ReadonlyMap<string, Pick<ModelAdapter, "plan">>;
}

/** The models of all documents that are no documents themselves, each once: what must be opened. */
export function modelsOfDocuments({ documents }: Pick<RecipeDocuments, "documents">): ModelReference[] {
  return references(documents, (path, names) => !names.has(path), "key");
}

/** The references that fold an adapter into a document, each adapter once: their adapters must be opened. */
export function adaptersOfDocuments({ documents }: Pick<RecipeDocuments, "documents">): ModelReference[] {
  return references(documents, (path, names) => names.has(path), "adapter");
}

function references(
  documents: RecipeDocuments["documents"],
  wanted: (path: string, names: ReadonlySet<string>) => boolean,
  by: "key" | "adapter",
): ModelReference[] {
  const names = new Set(documents.flatMap(({ name }) => (name === undefined ? [] : [name])));
  const found = documents.flatMap(modelsOf).filter((each) => wanted(each.path, names) && each[by] !== undefined);
  return [...new Map(found.map((reference) => [reference[by], reference])).values()];
}

/**
 * Plans the target of a recipe of one or several documents, those it uses among it: nothing is written in between.
 * `models` by the key of their reference. Throws as `planMerge`, and what folding adapters throws.
 */
export function planDocuments(
  { documents, warnings }: RecipeDocuments,
  models: ReadonlyMap<string, PlanModel>,
  { adapters = new Map(), ...options }: PlanDocumentsOptions = {},
): MergePlan {
  const known = new Map(models);
  let plan: MergePlan | undefined;
  const told: string[] = [];
  for (const document of documents) {
    const say = (more: readonly string[]) =>
      told.push(...more.map((warning) => (document.name === undefined ? warning : `${document.name}: ${warning}`)));
    for (const reference of modelsOf(document)) {
      const result = known.get(reference.path);
      if (reference.adapter === undefined || known.has(reference.key) || result?.plan === undefined) continue;
      const { model, warnings: more } = adapted(reference, reference.adapter, result, adapters);
      known.set(reference.key, model);
      say(more);
    }
    plan = planMerge(document, known, options);
    say(plan.warnings);
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

/** A document's result with an adapter folded into it. */
function adapted(
  { key, place }: ModelReference,
  adapter: string,
  document: PlanModel,
  adapters: ReadonlyMap<string, Pick<ModelAdapter, "plan">>,
): { readonly model: PlanModel; readonly warnings: readonly string[] } {
  const open = adapters.get(adapter);
  if (open === undefined) {
    throw new LoomweightError({ code: "MISSING_MODEL", problem: `the adapter of ${key} was not opened`, ...place });
  }
  const { tensors, config, warnings } = open.plan({
    checkpoint: { ...document.checkpoint, location: document.location },
    config: document.config,
  });
  const location = `${document.location} with ${adapter}`;
  return { model: { ...document, location, checkpoint: { tensors }, config, adapter }, warnings };
}
