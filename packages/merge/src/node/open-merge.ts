import { readFile, stat } from "node:fs/promises";
import type { Checkpoint } from "@loomweight/checkpoint";
import { sourceFacts } from "@loomweight/checkpoint/node";
import { LoomweightError } from "@loomweight/tensor";
import type { AnyMergeMethod } from "../define.ts";
import type { ModelAdapter } from "../model-adapter.ts";
import type { MergePlan } from "../plan/plan.ts";
import { adaptersOfDocuments, modelsOfDocuments, planDocuments } from "../plan/plan-documents.ts";
import { planCheckpoints } from "../plan-checkpoints.ts";
import { planModels } from "../plan-models.ts";
import { parseRecipeDocuments } from "../recipe/documents.ts";
import type { Recipe } from "../recipe/recipe.ts";
import { type OpenReference, openReference, openReferenceAdapter } from "./open-reference.ts";

/** What a merge is made from, as a caller and every worker opens it for itself. Plain data but for the methods. */
export interface MergeInputs {
  /** Text of a recipe, or an object of the same shape. */
  readonly recipe: string | object;
  /** Path of the recipe's file, which model paths are relative to first. */
  readonly file: string | undefined;
  /** Folder that model paths are relative to otherwise; default the working folder. */
  readonly folder: string | undefined;
  readonly methods: readonly AnyMergeMethod[];
  /** Name of the document that is wanted; default: the unnamed one, or the one that no other uses. */
  readonly target?: string;
  /** How documents that others use are merged. */
  readonly seed?: number;
  readonly allowNonFinite?: boolean;
}

/** A recipe with its models open and its plan made. */
export interface OpenMerge {
  /** The document whose result is wanted. */
  readonly recipe: Recipe;
  readonly plan: MergePlan;
  readonly method: AnyMergeMethod;
  /** Every method that takes part: that of the recipe first, then those of documents that it uses. */
  readonly methods: readonly AnyMergeMethod[];
  /** The models that are read from files, in the order in which the recipe names them, by the key of their reference. */
  readonly models: ReadonlyMap<string, OpenReference>;
  /** Adapters that are folded into documents, by the path that the recipe gives. */
  readonly adapters: ReadonlyMap<string, ModelAdapter>;
  /** What the plan's tensors are read from, in the order of its models. */
  readonly checkpoints: readonly Checkpoint[];
  /** What tells the models' files apart from others, by path. */
  readonly sources: Readonly<Record<string, string>>;
}

/**
 * Parses a recipe of one or several documents, opens its models, plans the merge, and closes them when `work` has
 * ended. When `work` begins, headers, tokenizers and chat templates have been read, and no weights. Throws what
 * `parseRecipeDocuments`, `openReference` and `planDocuments` throw.
 */
export async function withOpenMerge<T>(
  { recipe, file, folder, methods, target, seed, allowNonFinite }: MergeInputs,
  work: (merge: OpenMerge) => Promise<T>,
): Promise<T> {
  const documents = parseRecipeDocuments(recipe, { methods, file, target });
  const models = new Map<string, OpenReference>();
  const adapters = new Map<string, ModelAdapter>();
  try {
    for (const reference of modelsOfDocuments(documents)) {
      models.set(reference.key, await openReference(reference, folder));
    }
    for (const { adapter = "", place } of adaptersOfDocuments(documents)) {
      adapters.set(adapter, await openReferenceAdapter(adapter, place, folder));
    }
    const raw = [...models.values()].every(({ isFile }) => isFile);
    const planned = planDocuments(documents, await planModels(documents, models), { raw, adapters });
    const warnings = [...[...models.values()].flatMap((model) => model.warnings), ...planned.warnings];
    const plan = { ...planned, warnings: [...new Set(warnings)] };
    const used = [...new Set([documents.target, ...documents.documents].map(({ method }) => method))];
    const opened = new Map([...models].map(([key, { checkpoint }]) => [key, checkpoint]));
    return await work({
      recipe: documents.target,
      plan,
      method: documents.target.method,
      methods: used,
      models,
      adapters,
      checkpoints: planCheckpoints(plan, opened, used, { seed, allowNonFinite }, adapters),
      sources: await sourceFacts(models.values(), adapters.values()),
    });
  } finally {
    await Promise.all([...models.values(), ...adapters.values()].map((each) => each.close()));
  }
}

/** Recipes are small; a larger file is something else. */
const maxRecipeBytes = 2_000_000;

/** The text of a recipe's file. Throws `RECIPE_NOT_FOUND`, `RECIPE_TOO_LARGE`. */
export async function readRecipe(path: string): Promise<string> {
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
