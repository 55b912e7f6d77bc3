import { stat } from "node:fs/promises";
import { join } from "node:path";
import type { Checkpoint, ModelFolder } from "@loomweight/checkpoint";
import { folderFileSet, openModel } from "@loomweight/checkpoint/node";
import { type ModelAdapter, openModelAdapter } from "../model-adapter.ts";
import type { Place } from "../recipe/located.ts";
import type { ModelReference } from "../recipe/model-reference.ts";
import { resolveModelPath } from "./resolve-model.ts";

/** A model of a recipe, open. */
export interface OpenReference {
  /** As it is planned with: names, shapes and the dtypes it is stored in. */
  readonly folder: ModelFolder;
  /** What is read: tensors that an adapter changes come as float64, so that nothing is rounded before the merge. */
  readonly checkpoint: Checkpoint;
  readonly warnings: readonly string[];
  /** Paths of the files that its weights come from. */
  readonly files: readonly string[];
  /** Whether the recipe names a file of weights rather than a folder. */
  readonly isFile: boolean;
  close(): Promise<void>;
}

/**
 * Opens what a recipe names: a model folder, with an adapter folded into it as it is read where one is named. Throws
 * `MODEL_NOT_FOUND`, and what opening checkpoints and folding adapters throw.
 */
export async function openReference(
  { path, adapter, place }: ModelReference,
  workingFolder?: string,
): Promise<OpenReference> {
  const found = await resolveModelPath(path, place, workingFolder);
  const model = await openModel(found);
  if (adapter === undefined) {
    const { checkpoint } = model;
    const isFile = (await stat(found)).isFile();
    return { folder: model, checkpoint, warnings: [], files: filesOf(checkpoint), isFile, close: () => model.close() };
  }
  try {
    return await withAdapter(model, await resolveModelPath(adapter, place, workingFolder));
  } catch (error) {
    await model.close();
    throw error;
  }
}

function filesOf({ tensors }: Checkpoint): string[] {
  return [...new Set([...tensors.values()].map(({ file }) => file))];
}

async function withAdapter(model: ModelFolder, adapterPath: string): Promise<OpenReference> {
  const adapter = await openAdapterAt(adapterPath);
  try {
    const base = { checkpoint: model.checkpoint, config: model.config };
    const { tensors, config, warnings } = adapter.plan(base);
    const exact = adapter.fold(base);
    return {
      folder: { ...model, checkpoint: { ...exact, tensors }, config },
      checkpoint: exact,
      warnings,
      isFile: false,
      files: [...filesOf(model.checkpoint), ...adapter.files],
      async close() {
        await Promise.all([exact.close(), adapter.close(), model.close()]);
      },
    };
  } catch (error) {
    await adapter.close();
    throw error;
  }
}

/** Opens the PEFT folder that a recipe names. Throws `MODEL_NOT_FOUND`, and as `openModelAdapter`. */
export async function openReferenceAdapter(path: string, place: Place, workingFolder?: string): Promise<ModelAdapter> {
  return openAdapterAt(await resolveModelPath(path, place, workingFolder));
}

async function openAdapterAt(path: string): Promise<ModelAdapter> {
  // Its configuration scales the update: it belongs to the files that tell one adapter from another.
  return openModelAdapter(await folderFileSet(path), [join(path, "adapter_config.json")]);
}
