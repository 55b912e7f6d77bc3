import { folderFileSet } from "@loomweight/checkpoint/node";
import type { Adapter } from "../peft/adapter.ts";
import { openAdapter, type ReadAdapterOptions } from "../peft/read-adapter.ts";

/** Opens a PEFT folder on disk. Only headers are read. Throws as `openAdapter`. */
export async function openAdapterFolder(path: string, options: ReadAdapterOptions = {}): Promise<Adapter> {
  return openAdapter(await folderFileSet(path), options);
}
