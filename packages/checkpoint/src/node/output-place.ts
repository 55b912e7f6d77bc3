import { rmdirSync } from "node:fs";
import { lstat, mkdir, readdir, rename, rm, rmdir, stat } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, parse, relative, sep } from "node:path";
import { LoomweightError } from "@loomweight/tensor";
import { diskFull, fileFault, isDiskFull, systemCode } from "./file-faults.ts";
import { syncFolder } from "./output-file-system.ts";
import { temporaryPath } from "./temporary-names.ts";

/** Throws where `final` must not be written: something is there and `force` is not given, or it is no output at all. */
export async function checkReplaceable(final: string, shown: string, force: boolean): Promise<void> {
  const found = await lstat(final).catch((cause: unknown) => {
    if (systemCode(cause) === "ENOENT" || systemCode(cause) === "ENOTDIR") return undefined; // told when it is made
    throw fileFault(cause, shown, "WRITE_FAILED", "looking at the output's place failed");
  });
  const inFinal = (path: string) => path === final || path.startsWith(final.endsWith(sep) ? final : final + sep);
  const unsafe = (what: string) =>
    new LoomweightError({
      code: "UNSAFE_OUTPUT",
      file: shown,
      problem: `the output cannot replace ${what}`,
      fix: "Give the name of a folder that is to be created.",
    });
  if (final === parse(final).root) throw unsafe("the root folder");
  if (found === undefined) return;
  const entries = found.isDirectory() ? await readdir(final) : undefined;
  if (inFinal(process.cwd())) throw unsafe("the folder this runs in");
  if (inFinal(homedir())) throw unsafe("the home folder");
  if (entries?.length === 0) return;
  if (!force) throw outputExists(shown);
  if (entries?.includes(".git")) throw unsafe("a folder that holds a Git repository");
}

function outputExists(file: string): LoomweightError {
  return new LoomweightError({
    code: "OUTPUT_EXISTS",
    file,
    problem: "the output exists already",
    fix: "Choose another name, remove it, or replace it with `force` (on the command line: --force).",
  });
}

/** Makes the temporary folder and the folders above it; the topmost one that was made. */
export async function makeFolders(parent: string, path: string, shown: string): Promise<string | undefined> {
  let created: string | undefined;
  try {
    created = await makeAbove(parent);
    await mkdir(path);
    return created;
  } catch (cause) {
    removeEmptyFolders(parent, created);
    if (isDiskFull(cause)) throw diskFull(shown, undefined, undefined, cause);
    const code = systemCode(cause);
    if (code === "EEXIST" || code === "ENOTDIR") {
      throw new LoomweightError({
        code: "INVALID_PATH",
        file: shown,
        problem: "a part of the output's path is a file, not a folder",
        cause,
      });
    }
    throw fileFault(cause, shown, "WRITE_FAILED", "creating the output failed");
  }
}

/**
 * Makes a folder and those above it; the topmost one that was made. One at a time: Node's own recursive `mkdir` never
 * returns where a file system refuses a folder by saying that there is none above it (/proc).
 */
async function makeAbove(path: string): Promise<string | undefined> {
  const missing: string[] = [];
  for (let at = path; dirname(at) !== at; at = dirname(at)) {
    const found = await stat(at).catch((cause: unknown) => {
      if (systemCode(cause) === "ENOENT") return undefined;
      throw cause;
    });
    if (found !== undefined) break;
    missing.unshift(at);
  }
  let top: string | undefined;
  for (const each of missing) {
    try {
      await mkdir(each);
      top ??= each;
    } catch (cause) {
      if (systemCode(cause) === "EEXIST") continue; // another run made it meanwhile
      removeEmptyFolders(dirname(each), top);
      throw cause;
    }
  }
  return top;
}

/** Removes the folders from `from` up to `top`, which this run made, as far as they are empty. */
export function removeEmptyFolders(from: string, top: string | undefined): void {
  if (top === undefined) return;
  for (let at = from; !relative(top, at).startsWith(".."); at = dirname(at)) {
    try {
      rmdirSync(at);
    } catch {
      return; // something else lies in it
    }
  }
}

/** Gives the folder at `path` the name `final`; an old output there is moved aside first and removed last. */
export async function putInPlace(path: string, final: string, shown: string, force: boolean): Promise<void> {
  await checkReplaceable(final, shown, force);
  await rmdir(final).catch(() => undefined); // an empty folder makes room; anything else stays
  const old = await lstat(final).catch(() => undefined);
  if (old === undefined) {
    await renameOrRefuse(path, final, shown);
    return;
  }
  if (!force) throw outputExists(shown);
  const aside = temporaryPath(final, "replaced");
  await rename(final, aside);
  try {
    await renameOrRefuse(path, final, shown);
  } catch (error) {
    await rename(aside, final);
    throw error;
  }
  await syncFolder(dirname(final));
  // The new output is in place whether or not the old one can be removed at once; the next run tries again.
  await rm(aside, { recursive: true, force: true, maxRetries: 3 }).catch(() => undefined);
}

async function renameOrRefuse(from: string, to: string, shown: string): Promise<void> {
  try {
    await rename(from, to);
  } catch (cause) {
    const code = systemCode(cause);
    // Something appeared there in the meantime.
    if (code === "ENOTEMPTY" || code === "EEXIST" || code === "ENOTDIR") throw outputExists(shown);
    throw cause;
  }
}
