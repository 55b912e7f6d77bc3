import { readFile, stat } from "node:fs/promises";
import type { Checkpoint } from "@loomweight/checkpoint";
import { LoomweightError } from "@loomweight/tensor";
import type { AnyMergeMethod } from "../define.ts";
import type { MergePlan } from "../plan/plan.ts";
import { planMerge } from "../plan/plan-merge.ts";
import { modelsOf } from "../recipe/documents.ts";
import { parseRecipe, type Recipe } from "../recipe/recipe.ts";
import { type OpenReference, openReference } from "./open-reference.ts";
import { sourceFacts } from "./source-facts.ts";

/** What a merge is made from, as a caller and every worker opens it for itself. Plain data but for the methods. */
export interface MergeInputs {
  /** Text of a recipe, or an object of the same shape. */
  readonly recipe: string | object;
  /** Path of the recipe's file, which model paths are relative to first. */
  readonly file: string | undefined;
  /** Folder that model paths are relative to otherwise; default the working folder. */
  readonly folder: string | undefined;
  readonly methods: readonly AnyMergeMethod[];
}

/** A recipe with its models open and its plan made. */
export interface OpenMerge {
  readonly recipe: Recipe;
  readonly plan: MergePlan;
  readonly method: AnyMergeMethod;
  /** Every method that takes part. */
  readonly methods: readonly AnyMergeMethod[];
  /** The models of the plan, in its order. */
  readonly models: readonly OpenReference[];
  /** What the plan's tensors are read from, in the order of its models. */
  readonly checkpoints: readonly Checkpoint[];
  /** What tells the models' files apart from others, by path. */
  readonly sources: Readonly<Record<string, string>>;
}

/** Parses a recipe, opens its models, plans the merge, and closes them when `work` has ended. */
export async function withOpenMerge<T>(
  { recipe, file, folder, methods }: MergeInputs,
  work: (merge: OpenMerge) => Promise<T>,
): Promise<T> {
  const parsed = parseRecipe(recipe, { methods, file });
  const opened = new Map<string, OpenReference>();
  try {
    for (const reference of modelsOf(parsed)) opened.set(reference.key, await openReference(reference, folder));
    const planned = planMerge(parsed, new Map([...opened].map(([key, model]) => [key, model.folder])));
    const plan = {
      ...planned,
      warnings: [...[...opened.values()].flatMap(({ warnings }) => warnings), ...planned.warnings],
    };
    const models = plan.models.map((key) => opened.get(key) as OpenReference);
    return await work({
      recipe: parsed,
      plan,
      method: parsed.method,
      methods: [parsed.method],
      models,
      checkpoints: models.map(({ checkpoint }) => checkpoint),
      sources: await sourceFacts(models),
    });
  } finally {
    await Promise.all([...opened.values()].map((model) => model.close()));
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
