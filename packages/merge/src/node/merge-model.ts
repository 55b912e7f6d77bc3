import { readFile, stat } from "node:fs/promises";
import type { ModelFolder, OutputFolder } from "@loomweight/checkpoint";
import { planSafetensors } from "@loomweight/checkpoint";
import { withOutputFolder } from "@loomweight/checkpoint/node";
import { LoomweightError } from "@loomweight/tensor";
import type { AnyMergeMethod } from "../define.ts";
import { type ExecuteOptions, executePlan } from "../execute.ts";
import { mergeMethods } from "../method-list.ts";
import { licenceOf, modelCard } from "../model-card.ts";
import type { MergePlan } from "../plan/plan.ts";
import { modelsOf, planMerge } from "../plan/plan-merge.ts";
import { parseRecipe, type Recipe } from "../recipe/recipe.ts";
import { type OpenReference, openReference } from "./open-reference.ts";

export interface MergeModelOptions extends ExecuteOptions {
  /** Replace an existing output; default false. */
  readonly force?: boolean;
  /** Most data bytes of one weight file; default 5 GB. */
  readonly maxShardBytes?: number;
  /** Methods that the recipe may name, your own among them; default all of this package. */
  readonly methods?: readonly AnyMergeMethod[];
  /** Folder that model paths are relative to when they do not lie beside the recipe; default the working folder. */
  readonly folder?: string;
  /** Name and version of the tool, for the model card; default "Loomweight". */
  readonly tool?: string;
}

/** What was merged. */
export interface MergeReport {
  readonly outPath: string;
  readonly method: string;
  /** As the recipe spells them. */
  readonly models: readonly string[];
  readonly tensors: number;
  /** Bytes of weights written. */
  readonly bytes: number;
  /** Weight files. */
  readonly files: readonly string[];
  readonly warnings: readonly string[];
}

/** Recipes are small; a larger file is something else. */
const maxRecipeBytes = 2_000_000;

/**
 * Merges models by a recipe into a new model folder: weights, config.json, the companion files of the base (or first)
 * model, and a README.md. `recipe` is the path of a YAML file in mergekit's format, or an object of the same shape.
 * Model paths are looked for beside the recipe first, then in the working folder.
 *
 * The folder appears under `outPath` only when complete. Tensors are streamed: memory stays below about 100 MB however
 * large the models are. Throws `LoomweightError` (see `parseRecipe`, `planMerge`, `executePlan`, `createOutputFolder`)
 * and the reason of an aborted `signal`.
 */
export async function mergeModel(
  recipe: string | object,
  outPath: string,
  options: MergeModelOptions = {},
): Promise<MergeReport> {
  const { methods = mergeMethods, tool = "Loomweight" } = options;
  const text = typeof recipe === "string" ? await readRecipe(recipe) : undefined;
  const parsed = parseRecipe(text ?? recipe, { methods, file: typeof recipe === "string" ? recipe : undefined });
  return withModels(parsed, options.folder, async (models) => {
    const plan = planOf(parsed, models);
    const open = plan.models.map((key) => models.get(key) as OpenReference);
    const checkpoints = open.map(({ checkpoint }) => checkpoint);
    const opened = open.map(({ folder }) => folder);
    const output = planSafetensors(plan.tensors, { maxShardBytes: options.maxShardBytes });
    await withOutputFolder(outPath, { force: options.force }, async (folder) => {
      const writer = await folder.createWriter(output);
      try {
        await executePlan(plan, parsed.method, checkpoints, writer.write, options);
        await writer.finish();
      } catch (error) {
        await writer.abort();
        throw error;
      }
      await writeCompanions(folder, plan, opened[plan.donor]);
      const sources = await Promise.all(
        opened.map(async (model, index) => ({ reference: plan.models[index], licence: await licenceOf(model) })),
      );
      const { name: method, source: methodSource } = parsed.method;
      await folder.writeFile("README.md", modelCard({ method, methodSource, sources, recipe: text, tool }));
    });
    return {
      outPath,
      method: parsed.method.name,
      models: plan.models,
      tensors: plan.tensors.length,
      bytes: [...output.tensors.values()].reduce((sum, { byteLength }) => sum + byteLength, 0),
      files: output.files.map(({ name }) => name),
      warnings: plan.warnings,
    };
  });
}

/**
 * The plan of a recipe, from headers alone: nothing is read but them and nothing is written. Throws as `mergeModel`.
 */
export async function planModel(
  recipe: string | object,
  options: Pick<MergeModelOptions, "methods" | "folder"> = {},
): Promise<MergePlan> {
  const { methods = mergeMethods } = options;
  const file = typeof recipe === "string" ? recipe : undefined;
  const parsed = parseRecipe(typeof recipe === "string" ? await readRecipe(recipe) : recipe, { methods, file });
  return withModels(parsed, options.folder, async (models) => planOf(parsed, models));
}

function planOf(recipe: Recipe, models: ReadonlyMap<string, OpenReference>): MergePlan {
  const plan = planMerge(recipe, new Map([...models].map(([key, { folder }]) => [key, folder])));
  return { ...plan, warnings: [...[...models.values()].flatMap(({ warnings }) => warnings), ...plan.warnings] };
}

async function readRecipe(path: string): Promise<string> {
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

async function withModels<T>(
  recipe: Recipe,
  folder: string | undefined,
  work: (models: ReadonlyMap<string, OpenReference>) => Promise<T>,
): Promise<T> {
  const models = new Map<string, OpenReference>();
  try {
    for (const reference of modelsOf(recipe)) models.set(reference.key, await openReference(reference, folder));
    return await work(models);
  } finally {
    await Promise.all([...models.values()].map((model) => model.close()));
  }
}

/** Files that say something about the old weights and not about the merged ones. */
const leftBehind = /^(config|adapter_config|quantize_config|hf_quant_config)\.json$|^(readme|model_card|modelcard)\b/i;

async function writeCompanions(
  folder: Pick<OutputFolder, "writeFile" | "copyFile">,
  plan: MergePlan,
  donor: ModelFolder,
): Promise<void> {
  if (plan.config !== undefined)
    await folder.writeFile("config.json", `${JSON.stringify(plan.config, undefined, 2)}\n`);
  for (const [name, source] of donor.files) if (!leftBehind.test(name)) await folder.copyFile(name, source);
}
