import { rmdirSync, rmSync } from "node:fs";
import { lstat, mkdir, readdir, rename, rm, rmdir } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, join, parse, relative, resolve, sep } from "node:path";
import { LoomweightError } from "@loomweight/tensor";
import type { ByteSource, OutputFolder, SafetensorsPlan, TensorWriter } from "../checkpoint.ts";
import { checkPlainRelativePath } from "../file-names.ts";
import { indexFileName } from "../plan.ts";
import { diskFull, fileFault, isDiskFull, systemCode } from "./file-faults.ts";
import { diskFileSystem, type OutputFileSystem, syncFolder } from "./output-file-system.ts";
import { findTemporaries, mayBeRunning, recoverLeftovers, temporaryPath } from "./temporary-names.ts";
import { createTensorWriter, type FileTensorWriter, writeAll } from "./tensor-writer.ts";

export interface OutputFolderOptions {
  /** Replace an existing output; default false. The old one stays until the new one is complete. */
  readonly force?: boolean;
  /** Refuse while another run writes the same output; default true. */
  readonly lock?: boolean;
  /** Default the disk. */
  readonly fileSystem?: OutputFileSystem;
}

/** An `OutputFolder` on disk. */
export interface FileOutputFolder extends OutputFolder {
  createWriter(plan: SafetensorsPlan): Promise<FileTensorWriter>;
}

const copyBytes = 4 * 2 ** 20;

/**
 * Prepares an output that appears under `finalPath` only when it is complete. Everything is written into a temporary
 * sibling; `commit` flushes it to disk and renames it. An empty folder of that name is no output and is used.
 *
 * With `force` an existing output is moved aside by one rename and the new one put in its place by the next; should
 * the second fail, or the process die in between, the old one comes back (at once, or when the output is next opened).
 * Folders that are clearly no output are never replaced: the root, the home folder, the working folder or one around
 * it, and whatever holds a `.git`.
 *
 * What killed runs left beside `finalPath` is removed. Throws `OUTPUT_EXISTS`, `OUTPUT_IN_USE`, `UNSAFE_OUTPUT`,
 * `NOT_PERMITTED`, `DISK_FULL`.
 */
export async function createOutputFolder(
  finalPath: string,
  options: OutputFolderOptions = {},
): Promise<FileOutputFolder> {
  const { force = false, lock = true, fileSystem = diskFileSystem() } = options;
  const final = resolve(finalPath);
  await recoverLeftovers(final);
  await checkReplaceable(final, finalPath, force);
  const path = temporaryPath(final, "partial");
  const createdParent = await makeFolders(dirname(final), path, finalPath);
  const folder = outputFolder({ path, final, finalPath, force, fileSystem, createdParent });
  if (lock) {
    const others = (await findTemporaries(final)).filter((each) => each.path !== path && mayBeRunning(each));
    if (others.length > 0) {
      await folder.discard();
      throw new LoomweightError({
        code: "OUTPUT_IN_USE",
        file: finalPath,
        problem: "another run is writing this output",
        found: others.map((each) => `${each.path} of process ${each.owner.pid}`).join(", "),
        fix: "Wait for it, or remove that folder if its process (perhaps on another machine) is gone.",
      });
    }
  }
  return folder;
}

/** Runs `work` with an output folder: committed when it returns, discarded when it throws. */
export async function withOutputFolder<T>(
  finalPath: string,
  options: OutputFolderOptions,
  work: (folder: FileOutputFolder) => Promise<T>,
): Promise<T> {
  const folder = await createOutputFolder(finalPath, options);
  try {
    const result = await work(folder);
    await folder.commit();
    return result;
  } catch (error) {
    await folder.discard();
    throw error;
  }
}

function outputFolder(parts: {
  path: string;
  final: string;
  finalPath: string;
  force: boolean;
  fileSystem: OutputFileSystem;
  createdParent: string | undefined;
}): FileOutputFolder {
  const { path, final, finalPath, force, fileSystem, createdParent } = parts;
  const writers = new Map<TensorWriter, "open" | "done">();
  const reserved = new Set<string>();
  let state: "open" | "committed" | "discarded" = "open";

  const prepare = async (name: string): Promise<string> => {
    if (state !== "open") throw closedFolder(finalPath, state);
    checkPlainRelativePath(name, finalPath, "the name of an output file");
    if (reserved.has(name)) {
      throw new LoomweightError({
        code: "FILE_EXISTS",
        file: name,
        problem: "this file belongs to the output's weights",
      });
    }
    const target = join(path, ...name.split("/"));
    if (name.includes("/")) await mkdir(dirname(target), { recursive: true });
    return target;
  };
  /** Writes a file from its parts and flushes it; a part written before under that name is replaced. */
  const writeParts = async (name: string, size: number, pieces: AsyncIterable<Uint8Array> | Iterable<Uint8Array>) => {
    try {
      const handle = await fileSystem.open(await prepare(name), "w");
      try {
        let position = 0;
        for await (const piece of pieces) {
          await writeAll(handle, piece, position);
          position += piece.length;
        }
        await handle.sync();
      } finally {
        await handle.close();
      }
    } catch (cause) {
      if (cause instanceof LoomweightError) throw cause;
      const file = join(finalPath, name);
      if (isDiskFull(cause)) throw diskFull(file, size, await fileSystem.freeBytes(path), cause);
      throw fileFault(cause, file, "WRITE_FAILED", "writing failed");
    }
  };

  return {
    path,
    finalPath,
    async writeFile(name, content) {
      const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
      await writeParts(name, bytes.length, [bytes]);
    },
    async copyFile(name, source) {
      await writeParts(name, source.size, piecesOf(source));
    },
    async createWriter(plan) {
      if (state !== "open") throw closedFolder(finalPath, state);
      const writer = await createTensorWriter(path, plan, { fileSystem });
      for (const { name } of plan.files) reserved.add(name);
      if (plan.index !== undefined) reserved.add(indexFileName(plan));
      const tracked: FileTensorWriter = {
        ...writer,
        async finish() {
          await writer.finish();
          writers.set(tracked, "done");
        },
        async abort() {
          await writer.abort();
          writers.delete(tracked);
        },
      };
      writers.set(tracked, "open");
      return tracked;
    },
    async commit() {
      if (state !== "open") throw closedFolder(finalPath, state);
      if ([...writers.values()].includes("open")) {
        throw new LoomweightError({
          code: "INCOMPLETE_OUTPUT",
          file: finalPath,
          problem: "a writer of this output was not finished",
        });
      }
      try {
        await syncTree(path);
        await putInPlace(path, final, finalPath, force);
        state = "committed";
        await syncFolder(dirname(final));
      } catch (cause) {
        throw cause instanceof LoomweightError
          ? cause
          : fileFault(cause, finalPath, "WRITE_FAILED", "putting the output in its place failed");
      }
    },
    async discard() {
      if (state === "committed") return;
      state = "discarded";
      await Promise.all([...writers.keys()].map((writer) => writer.abort()));
      await rm(path, { recursive: true, force: true, maxRetries: 3 });
      removeEmptyFolders(dirname(final), createdParent);
    },
    discardSync() {
      if (state === "committed") return;
      state = "discarded";
      rmSync(path, { recursive: true, force: true, maxRetries: 3 });
      removeEmptyFolders(dirname(final), createdParent);
    },
  };
}

async function* piecesOf(source: ByteSource): AsyncIterable<Uint8Array> {
  for (let start = 0; start < source.size; start += copyBytes) {
    yield await source.read(start, Math.min(source.size, start + copyBytes));
  }
}

/** Throws where `final` must not be written: something is there and `force` is not given, or it is no output at all. */
async function checkReplaceable(final: string, shown: string, force: boolean): Promise<void> {
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
    fix: "Choose another name, remove it, or ask for it to be replaced (force).",
  });
}

/** Makes the temporary folder and the folders above it; the topmost one that was made. */
async function makeFolders(parent: string, path: string, shown: string): Promise<string | undefined> {
  let created: string | undefined;
  try {
    created = await mkdir(parent, { recursive: true });
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

/** Removes the folders from `from` up to `top`, which this run made, as far as they are empty. */
function removeEmptyFolders(from: string, top: string | undefined): void {
  if (top === undefined) return;
  for (let at = from; !relative(top, at).startsWith(".."); at = dirname(at)) {
    try {
      rmdirSync(at);
    } catch {
      return; // something else lies in it
    }
  }
}

async function syncTree(path: string): Promise<void> {
  for (const entry of await readdir(path, { withFileTypes: true })) {
    if (entry.isDirectory()) await syncTree(join(path, entry.name));
  }
  await syncFolder(path);
}

async function putInPlace(path: string, final: string, shown: string, force: boolean): Promise<void> {
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

function closedFolder(file: string, state: string): LoomweightError {
  return new LoomweightError({ code: "CLOSED", file, problem: `the output was ${state} already` });
}
