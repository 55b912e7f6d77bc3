import { stat } from "node:fs/promises";
import { join } from "node:path";
import type { Checkpoint, ModelFolder } from "@loomweight/checkpoint";
import { openModel } from "@loomweight/checkpoint/node";
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
  // Loaded on first use: most recipes name no adapter, and every worker loads what it needs for itself.
  const [{ foldAdapters }, { openAdapterFolder }] = await Promise.all([
    import("@loomweight/adapters"),
    import("@loomweight/adapters/node"),
  ]);
  const adapter = await openAdapterFolder(adapterPath);
  const closeAdapter = () => adapter.checkpoint.close();
  try {
    const base = { checkpoint: model.checkpoint, config: model.config };
    const stored = foldAdapters(base, [adapter]);
    const exact = foldAdapters(base, [adapter], { dtype: "float64" });
    const changed = (name: string) => (stored.plan.tensors.get(name)?.operations.length ?? 0) > 0;
    const from = (name: string) => (changed(name) ? exact.checkpoint : stored.checkpoint);
    const tensors = new Map(stored.checkpoint.tensors);
    for (const [name, info] of exact.checkpoint.tensors) if (changed(name)) tensors.set(name, info);
    return {
      folder: {
        ...model,
        checkpoint: stored.checkpoint,
        config: model.config === undefined ? undefined : { ...model.config, ...stored.plan.config },
      },
      checkpoint: {
        ...exact.checkpoint,
        tensors,
        readBytes: (name, options) => from(name).readBytes(name, options),
        read: (name, options) => from(name).read(name, options),
      },
      warnings: stored.plan.warnings,
      isFile: false,
      files: [
        ...filesOf(model.checkpoint),
        ...filesOf(adapter.checkpoint),
        join(adapterPath, "adapter_config.json"), // scales the update
      ],
      async close() {
        await Promise.all([stored.checkpoint.close(), exact.checkpoint.close(), closeAdapter(), model.close()]);
      },
    };
  } catch (error) {
    await closeAdapter();
    throw error;
  }
}
