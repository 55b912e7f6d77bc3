import { readdir, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { LoomweightError } from "@loomweight/tensor";
import type { Checkpoint, ModelFolder } from "../checkpoint.ts";
import { refuseByName } from "../file-kind.ts";
import { chooseWeights, type FileSet, openWeights } from "../file-set.ts";
import { openModelFromFileSet } from "../model-folder.ts";
import { openSafetensors } from "../safetensors.ts";
import { openSharded } from "../sharded.ts";
import { fileFault } from "./file-faults.ts";
import { fileSource } from "./file-source.ts";
import { folderFileSet } from "./folder.ts";

/**
 * Opens weights by path: a `.safetensors` file, a `….safetensors.index.json`, or a folder that holds either. Headers
 * are read and checked, no data.
 * Throws `MISSING_FILE`, `NO_WEIGHTS`, `AMBIGUOUS_WEIGHTS`, `UNSUPPORTED_FORMAT` (pickles, GGUF, …), `GIT_LFS_POINTER`,
 * `NOT_SAFETENSORS`, and what the headers give.
 */
export async function openCheckpoint(path: string): Promise<Checkpoint> {
  if (await isFolder(path)) {
    const files = await folderFileSet(path);
    const weights = await chooseInFolder(files, path);
    return { ...(await openWeights(files, weights)), location: path };
  }
  if (isIndex(path)) {
    const files = await folderFileSet(dirname(path));
    return openSharded(await fileSource(path), (name) => files.open(name));
  }
  const refusal = refuseByName(path);
  if (refusal !== undefined) throw new LoomweightError(refusal);
  return openSafetensors(await fileSource(path));
}

/**
 * Opens a model: its weights, config.json and the companion files that travel along. `path` is its folder, or the
 * weights in it (a safetensors file or an index).
 */
export async function openModel(path: string): Promise<ModelFolder> {
  if (await isFolder(path)) {
    const files = await folderFileSet(path);
    return openModelFromFileSet(files, await chooseInFolder(files, path));
  }
  const refusal = refuseByName(path);
  if (refusal !== undefined) throw new LoomweightError(refusal);
  const files = await folderFileSet(dirname(path));
  // The user named this file: it may be a link to anywhere, unlike what a folder brings along.
  const weights = basename(path);
  const open: FileSet["open"] = (name) => (name === weights ? fileSource(path) : files.open(name));
  return openModelFromFileSet({ ...files, open }, weights);
}

function isIndex(path: string): boolean {
  return path.endsWith(".index.json");
}

async function isFolder(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch (cause) {
    throw fileFault(cause, path, "READ_FAILED", "opening failed");
  }
}

/** `chooseWeights`, with a hint where the folder is the top of a model in the Hugging Face cache. */
async function chooseInFolder(files: FileSet, path: string): Promise<string> {
  try {
    return chooseWeights(files);
  } catch (error) {
    if (!(error instanceof LoomweightError) || error.code !== "NO_WEIGHTS" || !files.names.includes("snapshots"))
      throw error;
    const revisions = await readdir(join(path, "snapshots")).catch(() => [] as string[]);
    if (revisions.length === 0) throw error;
    throw new LoomweightError({
      ...error.details,
      problem: "this is a model's folder in the Hugging Face cache; its files lie one level deeper",
      fix: `Give ${revisions
        .map((each) => join(path, "snapshots", each))
        .slice(0, 3)
        .join(" or ")}.`,
    });
  }
}
