import { readFile, stat } from "node:fs/promises";
import type { Checkpoint, ModelFolder } from "@loomweight/checkpoint";
import { LoomweightError } from "@loomweight/tensor";
import type { AnyMergeMethod } from "../define.ts";
import type { MergeTensorOptions } from "../merge-tensor.ts";
import type { MergePlan } from "../plan/plan.ts";
import { modelsOfDocuments, planDocuments } from "../plan/plan-documents.ts";
import type { PlanModel } from "../plan/plan-merge.ts";
import { planCheckpoints } from "../plan-checkpoints.ts";
import { parseRecipeDocuments, type RecipeDocuments } from "../recipe/documents.ts";
import type { ModelReference } from "../recipe/model-reference.ts";
import { readTokenizerFile } from "../tokenizer/tokenizer-file.ts";
import { type OpenReference, openReference } from "./open-reference.ts";

/** Recipes are small; a larger file is something else. */
const maxRecipeBytes = 2_000_000;

export interface OpenRecipeOptions {
  /** Methods that the recipe may name. */
  readonly methods: readonly AnyMergeMethod[];
  /** Folder that model paths are relative to when they do not lie beside the recipe; default the working folder. */
  readonly folder?: string;
  /** Name of the document that is wanted; default: the unnamed one, or the one that no other uses. */
  readonly target?: string;
}

/** A recipe whose models are open and whose output is planned. */
export interface OpenRecipe {
  /** The recipe's text, where it is a file. */
  readonly text: string | undefined;
  readonly documents: RecipeDocuments;
  readonly plan: MergePlan;
  /** The models that are no documents, each once, and what they opened to. */
  readonly references: readonly ModelReference[];
  readonly models: ReadonlyMap<string, OpenReference>;
  /** The methods of all documents, each once, that of the target first. */
  readonly methods: readonly AnyMergeMethod[];
  /** What the plan reads, one checkpoint per model of the plan, in its order. */
  checkpoints(options: MergeTensorOptions): readonly Checkpoint[];
}

/**
 * Reads a recipe (the path of a YAML file, or an object of the same shape), opens its models, plans its output, does
 * `work` and closes them again. Only headers, tokenizers and chat templates have been read when `work` begins. Throws
 * `RECIPE_NOT_FOUND`, `RECIPE_TOO_LARGE`, and what `parseRecipeDocuments`, `openReference` and `planDocuments` throw.
 */
export async function withRecipe<T>(
  recipe: string | object,
  { methods, folder, target }: OpenRecipeOptions,
  work: (open: OpenRecipe) => Promise<T>,
): Promise<T> {
  const text = typeof recipe === "string" ? await readRecipeFile(recipe) : undefined;
  const file = typeof recipe === "string" ? recipe : undefined;
  const documents = parseRecipeDocuments(text ?? recipe, { methods, file, target });
  const references = modelsOfDocuments(documents);
  const models = new Map<string, OpenReference>();
  try {
    for (const reference of references) models.set(reference.key, await openReference(reference, folder));
    const planned = planDocuments(documents, await planModels(documents, models), {
      raw: [...models.values()].every(({ isFile }) => isFile),
    });
    const warnings = [...[...models.values()].flatMap((model) => model.warnings), ...planned.warnings];
    const plan = { ...planned, warnings: [...new Set(warnings)] };
    const used = [...new Set([documents.target, ...documents.documents].map(({ method }) => method))];
    return await work({
      text,
      documents,
      plan,
      references,
      models,
      methods: used,
      checkpoints: (options) => planCheckpoints(plan, checkpointsByKey(models), used, options),
    });
  } finally {
    await Promise.all([...models.values()].map((model) => model.close()));
  }
}

/** What each of the models is read from, by the key of its reference. */
export function checkpointsByKey(models: ReadonlyMap<string, OpenReference>): ReadonlyMap<string, Checkpoint> {
  return new Map([...models].map(([key, { checkpoint }]) => [key, checkpoint]));
}

/** The models as planning sees them, with their tokenizers and chat templates where a document asks for them. */
async function planModels(
  { documents }: RecipeDocuments,
  models: ReadonlyMap<string, OpenReference>,
): Promise<ReadonlyMap<string, PlanModel>> {
  const needsTokenizers = documents.some(({ tokenizer }) => tokenizer !== undefined);
  const needsTemplates = documents.some(({ chatTemplate }) => chatTemplate?.setting === "auto");
  const result = new Map<string, PlanModel>();
  for (const [key, { folder }] of models) {
    result.set(key, {
      ...folder,
      tokenizer:
        needsTokenizers && folder.files.has("tokenizer.json")
          ? readTokenizerFile(await folder.readJson("tokenizer.json"), `${key}/tokenizer.json`)
          : undefined,
      chatTemplate: needsTemplates ? await chatTemplateOf(folder) : undefined,
    });
  }
  return result;
}

/** The chat template of a model: a file of its own, or an entry of tokenizer_config.json (of a list: the default). */
async function chatTemplateOf(folder: ModelFolder): Promise<string | undefined> {
  if (folder.files.has("chat_template.jinja")) return folder.readText("chat_template.jinja");
  if (!folder.files.has("tokenizer_config.json")) return undefined;
  const { chat_template: template } = await folder.readJson("tokenizer_config.json");
  if (typeof template === "string") return template;
  const named = (Array.isArray(template) ? template : []).find((each) => each?.name === "default");
  return typeof named?.template === "string" ? named.template : undefined;
}

async function readRecipeFile(path: string): Promise<string> {
  const found = await stat(path).catch(() => undefined);
  if (found === undefined || !found.isFile()) {
    throw new LoomweightError({
      code: "RECIPE_NOT_FOUND",
      problem: found === undefined ? "there is no such recipe" : "a recipe is a file, this is something else",
      file: path,
    });
  }
  if (found.size > maxRecipeBytes) {
    throw new LoomweightError({
      code: "RECIPE_TOO_LARGE",
      problem: "this is too large for a recipe",
      expected: `at most ${maxRecipeBytes} bytes`,
      found: String(found.size),
      file: path,
    });
  }
  return readFile(path, "utf8");
}
