import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import type { Checkpoint } from "@loomweight/checkpoint";
import { folderFileSet, openCheckpoint } from "@loomweight/checkpoint/node";
import type { AdapterMethod } from "../define.ts";
import { readForeignAdapters } from "../layouts/foreign-adapters.ts";
import { isForeignKey } from "../layouts/foreign-keys.ts";
import type { Adapter } from "../peft/adapter.ts";
import { configFile, openAdapter } from "../peft/read-adapter.ts";

/** Adapters opened from disk. */
export interface OpenAdapters {
  readonly adapters: readonly Adapter[];
  /** The path behind each of them: one file of another tool may hold several. */
  readonly paths: readonly string[];
  readonly warnings: readonly string[];
}

/**
 * Opens what the paths name: PEFT folders, and files of kohya or diffusers (or folders that hold one such file), whose
 * modules are found in `base`. What is opened goes into `opened`, whatever happens.
 */
export async function openAdapters(
  given: readonly string[],
  opened: { close(): Promise<void> }[],
  options: { readonly base?: Checkpoint; readonly methods?: readonly AdapterMethod[] } = {},
): Promise<OpenAdapters> {
  const adapters: Adapter[] = [];
  const paths: string[] = [];
  const warnings: string[] = [];
  for (const path of given) {
    const file = await foreignFileAt(path);
    if (file === undefined) {
      const adapter = await openAdapter(await folderFileSet(path), options);
      opened.push(adapter.checkpoint);
      adapters.push(adapter);
      paths.push(path);
      continue;
    }
    const checkpoint = await openCheckpoint(file);
    opened.push(checkpoint);
    const foreign = await readForeignAdapters(checkpoint, options.base, options);
    adapters.push(...foreign.adapters);
    paths.push(...foreign.adapters.map(() => path));
    warnings.push(...foreign.warnings);
  }
  return { adapters, paths, warnings };
}

/** The one weights file of another tool that a path names; undefined: a PEFT folder, or nothing of the kind. */
async function foreignFileAt(path: string): Promise<string | undefined> {
  const found = await stat(path).catch(() => undefined);
  if (found?.isFile() && path.endsWith(".safetensors")) return path;
  if (!found?.isDirectory()) return undefined;
  const names = await readdir(path);
  const files = names.filter((name) => name.endsWith(".safetensors"));
  if (names.includes(configFile) || files.length !== 1) return undefined;
  const file = join(path, files[0]);
  const checkpoint = await openCheckpoint(file);
  const isForeign = [...checkpoint.tensors.keys()].some(isForeignKey);
  await checkpoint.close();
  return isForeign ? file : undefined;
}
