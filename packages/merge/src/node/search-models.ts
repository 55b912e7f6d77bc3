import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Checkpoint } from "@loomweight/checkpoint";
import { mergedCheckpoint } from "../merged-checkpoint.ts";
import {
  type RecipeSearchResult,
  type SearchCandidate,
  type SearchRecipeOptions,
  searchRecipe,
} from "../search/search-recipe.ts";
import { type MergeModelOptions, mergeModel } from "./merge-model.ts";
import { knownMethods } from "./method-reference.ts";
import { readRecipe, withOpenMerge } from "./open-merge.ts";

/** A candidate of a search, merged as far as its score asks for it. */
export interface MergedCandidate extends SearchCandidate {
  /** The merged weights, computed when they are read; closed when the score has returned. */
  readonly checkpoint: Checkpoint;
  /** config.json of the merged model; undefined where the models have none. */
  readonly config: Readonly<Record<string, unknown>> | undefined;
  /** Path of the merged model as a folder, written at the first call and removed when the score has returned. */
  folder(): Promise<string>;
}

export interface SearchModelsOptions extends SearchRecipeOptions {
  /** How candidates are merged. Their `seed` is that of random methods: the same for every candidate. */
  readonly merge?: Pick<
    MergeModelOptions,
    "allowNonFinite" | "folder" | "methods" | "recipeFile" | "seed" | "target" | "workers"
  >;
}

/**
 * `searchRecipe` over models in folders. `recipe` is the path of a YAML file or an object of the same shape; `score`
 * is given every candidate as a lazily merged checkpoint, and as a folder on demand. Throws as `searchRecipe` and
 * `mergeModel`.
 */
export async function searchModels(
  recipe: string | object,
  score: (candidate: MergedCandidate) => number | Promise<number>,
  options: SearchModelsOptions = {},
): Promise<RecipeSearchResult> {
  const { merge = {}, ...search } = options;
  const file = typeof recipe === "string" ? recipe : merge.recipeFile;
  const { methods } = await knownMethods(merge.methods);
  const { allowNonFinite, folder, seed, target } = merge;

  const scoreMerged = async (candidate: SearchCandidate): Promise<number> =>
    withOpenMerge({ recipe: candidate.recipe, file, folder, methods, target, seed, allowNonFinite }, async (opened) => {
      const { plan, method, checkpoints } = opened;
      const lazy = mergedCheckpoint(plan, method, checkpoints, "candidate", {
        seed,
        allowNonFinite,
        signal: options.signal,
      });
      let parent: Promise<string> | undefined;
      let written: Promise<string> | undefined;
      const write = async (): Promise<string> => {
        parent = mkdtemp(join(tmpdir(), "loomweight-search-"));
        const path = join(await parent, "merged");
        await mergeModel(candidate.recipe, path, { ...merge, recipeFile: file, signal: options.signal });
        return path;
      };
      try {
        return await score({
          ...candidate,
          checkpoint: lazy,
          config: plan.config,
          folder: () => {
            written ??= write();
            return written;
          },
        });
      } finally {
        await written?.catch(() => undefined);
        await lazy.close();
        if (parent !== undefined) await rm(await parent, { recursive: true, force: true });
      }
    });

  return searchRecipe(typeof recipe === "string" ? await readRecipe(recipe) : recipe, scoreMerged, { ...search, file });
}
