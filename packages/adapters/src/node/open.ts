import type { Checkpoint } from "@loomweight/checkpoint";
import { folderFileSet } from "@loomweight/checkpoint/node";
import { type FoldedCheckpoint, type OpenFoldedOptions, openFolded } from "../fold/folded-checkpoint.ts";
import type { Adapter } from "../peft/adapter.ts";
import { openAdapter, type ReadAdapterOptions } from "../peft/read-adapter.ts";

/** Opens a PEFT folder on disk. Only headers are read. Throws as `openAdapter`. */
export async function openAdapterFolder(path: string, options: ReadAdapterOptions = {}): Promise<Adapter> {
  return openAdapter(await folderFileSet(path), options);
}

/** `openFolded` with PEFT folders on disk: the folded weights of base + adapters, computed when they are read. */
export async function openFoldedFolders(
  base: Checkpoint,
  config: Readonly<Record<string, unknown>> | undefined,
  adapterPaths: readonly string[],
  options: OpenFoldedOptions & ReadAdapterOptions = {},
): Promise<FoldedCheckpoint> {
  return openFolded(base, config, await Promise.all(adapterPaths.map(folderFileSet)), options);
}
