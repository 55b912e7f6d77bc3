import type { OutputFolder } from "@loomweight/checkpoint";
import { planSafetensors } from "@loomweight/checkpoint";
import { abandonOutput, createOutputFolder } from "@loomweight/checkpoint/node";
import { writeCompanions } from "../companions.ts";
import type { AnyMergeMethod } from "../define.ts";
import type { MergeProgress } from "../execute.ts";
import type { MergeTensorOptions } from "../merge-tensor.ts";
import { type CardSource, licenceOf, modelCard } from "../model-card.ts";
import type { MergePlan } from "../plan/plan.ts";
import { recipeYaml } from "../recipe/write-yaml.ts";
import { type KnownMethods, knownMethods, type MergeMethodModule } from "./method-reference.ts";
import { type MergeInputs, type OpenMerge, readRecipe, withOpenMerge } from "./open-merge.ts";
import { runFacts } from "./run-facts.ts";
import { type PlanRun, refuseMemory, refuseWorkers, runPlan } from "./run-plan.ts";

export interface MergeModelOptions extends MergeTensorOptions {
  /** Replace an existing output, and discard what an interrupted run left of it; default false. */
  readonly force?: boolean;
  /**
   * Continue what an interrupted run of the same merge left, tensor by tensor; default false. With nothing to continue
   * the merge begins anew.
   */
  readonly resume?: boolean;
  /**
   * Threads to merge in; the bytes are the same for every number. Default one per processor core, two at most, and one
   * for models too small to gain by more. The calling thread is one of them.
   */
  readonly workers?: number;
  /**
   * Most bytes of weights in flight, over all threads: tiles read and not yet written, sources held for a second look,
   * notes. Where it is short, tiles are smaller; the bytes written are the same. Default 256 MB, and 64 MB for every
   * thread beyond the fourth; at least 4 MB a thread, and 8 MB in all. The runtime itself and what tensors are ranked
   * in (one bit an entry of `della`) come on top.
   */
  readonly memory?: number;
  readonly onProgress?: (progress: MergeProgress) => void;
  /** Called when the merge was interrupted and what is finished was kept for `resume`. */
  readonly onSuspend?: (kept: { readonly tensorsDone: number; readonly tensorsTotal: number }) => void;
  /** Most data bytes of one weight file; default 5 GB. */
  readonly maxShardBytes?: number;
  /**
   * Methods that the recipe may name, your own among them; default all of this package. One given as a bare value runs
   * on the calling thread; as `{ module, export }` workers run it too.
   */
  readonly methods?: readonly (AnyMergeMethod | MergeMethodModule)[];
  /** Folder that model paths are relative to when they do not lie beside the recipe; default the working folder. */
  readonly folder?: string;
  /**
   * Path of the file that a recipe given as an object was made from: model paths are looked for beside it first, and
   * messages name it.
   */
  readonly recipeFile?: string;
  /** Of a recipe of several documents: the name of the one to write; default the unnamed one, or the last of all. */
  readonly target?: string;
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
  /** Threads that merged, the calling one among them. */
  readonly workers: number;
  /** Tensors that an interrupted run had finished. */
  readonly tensorsKept: number;
  readonly warnings: readonly string[];
}

/**
 * Merges models by a recipe into a new model folder: weights, config.json, the companion files of the base (or first)
 * model, and a README.md. `recipe` is the path of a YAML file in mergekit's format, or an object of the same shape.
 * Model paths are looked for beside the recipe first, then in the working folder.
 *
 * The folder appears under `outPath` only when complete. Tensors are streamed: memory stays
 * within `memory` however large the models are. What is finished outlives the process: after an abort, a full disk, a failing read or a
 * kill at any moment, `resume` continues with the tensors that are missing, to the same bytes.
 *
 * Throws `LoomweightError` (see `parseRecipe`, `planMerge`, `executePlan`, `executeInWorkers`, `createOutputFolder`) and
 * the reason of an aborted `signal`.
 */
export async function mergeModel(
  recipe: string | object,
  outPath: string,
  options: MergeModelOptions = {},
): Promise<MergeReport> {
  const { tool = "Loomweight" } = options;
  refuseWorkers(options.workers);
  refuseMemory(options.memory);
  const known = await knownMethods(options.methods);
  const inputs = await mergeInputs(recipe, options, known);
  return withOpenMerge(inputs, async (merge) => {
    const { plan, method } = merge;
    const layout = planSafetensors(plan.tensors, { maxShardBytes: options.maxShardBytes });
    const facts = runFacts(merge, { recipe: inputs.recipe, layout, tool, ...options });
    const journal = { facts, resume: options.resume };
    const folder = await createOutputFolder(outPath, { force: options.force, journal });
    let run: PlanRun;
    try {
      const writer = await folder.createWriter(layout);
      run = await runPlan({ merge, inputs, known, outputPath: folder.path, writer }, options);
      await writer.finish();
      await writeCompanions(folder, plan, merge.models);
      await writeCard(folder, merge, typeof recipe === "string" ? String(inputs.recipe) : recipeYaml(recipe), tool);
      await folder.commit();
    } catch (error) {
      throw await abandonOutput(folder, error, { ...options, tensorsTotal: plan.tensors.length });
    }
    return {
      outPath,
      method: method.name,
      models: [...merge.models.keys()],
      tensors: plan.tensors.length,
      bytes: [...layout.tensors.values()].reduce((sum, { byteLength }) => sum + byteLength, 0),
      files: layout.files.map(({ name }) => name),
      workers: run.workers,
      tensorsKept: run.tensorsKept,
      warnings: [...plan.warnings, ...run.warnings],
    };
  });
}

/**
 * The plan of a recipe, from headers alone: nothing is read but them and nothing is written. Throws as `mergeModel`.
 */
export async function planModel(
  recipe: string | object,
  options: Pick<MergeModelOptions, "methods" | "folder" | "target"> = {},
): Promise<MergePlan> {
  const known = await knownMethods(options.methods);
  return withOpenMerge(await mergeInputs(recipe, options, known), async ({ plan }) => plan);
}

/** What a merge is made from, a recipe's file read. Throws `RECIPE_NOT_FOUND`, `RECIPE_TOO_LARGE`. */
export async function mergeInputs(
  recipe: string | object,
  options: Pick<MergeModelOptions, "folder" | "recipeFile" | "target" | "seed" | "allowNonFinite">,
  { methods }: KnownMethods,
): Promise<MergeInputs> {
  const { folder, recipeFile, target, seed, allowNonFinite } = options;
  const common = { folder, methods, target, seed, allowNonFinite };
  if (typeof recipe !== "string") return { recipe, file: recipeFile, ...common };
  return { recipe: await readRecipe(recipe), file: recipe, ...common };
}

/** The README.md: method, models with their licences, recipe. */
async function writeCard(
  folder: Pick<OutputFolder, "writeFile">,
  { method, models, adapters }: OpenMerge,
  recipe: string,
  tool: string,
): Promise<void> {
  const sources: CardSource[] = await Promise.all(
    [...models].map(async ([reference, model]) => ({ reference, licence: await licenceOf(model.folder) })),
  );
  for (const reference of adapters.keys()) sources.push({ reference, licence: undefined });
  const { name, source: methodSource } = method;
  await folder.writeFile("README.md", modelCard({ method: name, methodSource, sources, recipe, tool }));
}
