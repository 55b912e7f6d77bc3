import { readdir, realpath, stat } from "node:fs/promises";
import { basename, dirname, join, relative, sep } from "node:path";
import { LoomweightError } from "@loomweight/tensor";
import type { ByteSource } from "../checkpoint.ts";
import { isPlainRelativePath } from "../file-names.ts";
import type { FileSet } from "../file-set.ts";
import { fileFault, systemCode } from "./file-faults.ts";
import { fileSource } from "./file-source.ts";

const maxListedFiles = 100_000;
/** Folders whose files are listed along with a model's own. */
const listedSubfolders = ["additional_chat_templates", "1_Pooling"];

/**
 * The files of a folder on disk. Hidden files are not listed. A file that is a link out of the folder is refused
 * (`LINK_LEAVES_FOLDER`), except the Hugging Face cache's own: `snapshots/<revision>/… → blobs/…`. The folder itself
 * may be reached through links.
 */
export async function folderFileSet(path: string): Promise<FileSet> {
  let root: string;
  const names: string[] = [];
  try {
    root = await realpath(path);
    for (const name of (await readdir(root)).sort()) if (isPlainRelativePath(name)) names.push(name);
    for (const folder of listedSubfolders) {
      if (!names.includes(folder)) continue;
      const inside = await readdir(join(root, folder)).catch(() => [] as string[]); // a file of that name
      for (const name of inside.sort()) if (isPlainRelativePath(name)) names.push(`${folder}/${name}`);
    }
  } catch (cause) {
    throw fileFault(cause, path, "READ_FAILED", "reading the folder failed");
  }
  if (names.length > maxListedFiles) {
    throw new LoomweightError({
      code: "TOO_MANY_FILES",
      file: path,
      problem: "the folder holds too many files",
      expected: `at most ${maxListedFiles}`,
      found: `${names.length}`,
    });
  }
  const blobs = hubCacheBlobs(root);
  return { location: path, names, open: (name) => openInside(path, root, blobs, name) };
}

async function openInside(
  path: string,
  root: string,
  blobs: string | undefined,
  name: string,
): Promise<ByteSource | undefined> {
  const shown = join(path, name);
  if (!isPlainRelativePath(name)) return undefined;
  let target: string;
  try {
    target = await realpath(join(root, name));
    if (!(await stat(target)).isFile()) return undefined;
  } catch (cause) {
    if (systemCode(cause) === "ENOENT" || systemCode(cause) === "ENOTDIR") return undefined;
    throw fileFault(cause, shown, "READ_FAILED", "opening failed");
  }
  if (!isInside(root, target) && (blobs === undefined || !isInside(blobs, target))) {
    throw new LoomweightError({
      code: "LINK_LEAVES_FOLDER",
      file: shown,
      problem: "the file is a link to a place outside the model's folder",
      found: target,
      fix: "Put the file itself into the folder, or give the path of the folder that holds it.",
    });
  }
  return fileSource(target, shown);
}

function isInside(folder: string, target: string): boolean {
  const path = relative(folder, target);
  return path !== "" && path !== ".." && !path.startsWith(`..${sep}`) && join(folder, path) === target;
}

/** For a folder `…/snapshots/<revision>[/…]` of the hub's cache: `…/blobs`, where its links lead. */
function hubCacheBlobs(root: string): string | undefined {
  for (let at = root; dirname(at) !== at; at = dirname(at)) {
    const parent = dirname(at);
    if (basename(parent) === "snapshots" && /^(models|datasets|spaces)--/.test(basename(dirname(parent)))) {
      return join(dirname(parent), "blobs");
    }
  }
  return undefined;
}
