import { rmSync } from "node:fs";
import { mkdir, readdir, rename, rm } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { LoomweightError } from "@loomweight/tensor";
import type { ByteSource, OutputFolder, SafetensorsPlan, TensorWriter } from "../checkpoint.ts";
import { checkPlainRelativePath } from "../file-names.ts";
import { indexFileName } from "../plan.ts";
import { diskFull, fileFault, isDiskFull } from "./file-faults.ts";
import { continueJournal, createJournal, type Journal, type JournalFacts, readJournal } from "./journal.ts";
import { type JournaledWriter, journaledWriter } from "./journaled-writer.ts";
import { diskFileSystem, type OutputFileSystem, syncFolder } from "./output-file-system.ts";
import { checkReplaceable, makeFolders, putInPlace, removeEmptyFolders } from "./output-place.ts";
import {
  findTemporaries,
  journalName,
  outputName,
  recoverLeftovers,
  type Temporary,
  temporaryPath,
} from "./temporary-names.ts";
import { createTensorWriter, type FileTensorWriter, writeAll } from "./tensor-writer.ts";
import { isAbandoned, takeUnfinished, type Unfinished } from "./unfinished.ts";

export interface OutputFolderOptions {
  /** Replace an existing output; default false. The old one stays until the new one is complete. */
  readonly force?: boolean;
  /** Refuse while another run writes the same output; default true. */
  readonly lock?: boolean;
  /** Default the disk. */
  readonly fileSystem?: OutputFileSystem;
  /** Makes the output one that can be continued after an interruption. */
  readonly journal?: JournalOptions;
}

export interface JournalOptions {
  /** What the output depends on, by name: only a run with equal facts continues it. */
  readonly facts: JournalFacts;
  /** Continue what an interrupted run left, where there is such; default false. */
  readonly resume?: boolean;
}

/** An `OutputFolder` on disk. */
export interface FileOutputFolder extends OutputFolder {
  /** With a journal: one writer for the whole folder, which knows what an earlier run finished. */
  createWriter(plan: SafetensorsPlan): Promise<FileTensorWriter>;
  /**
   * Closes the folder and leaves it as it is, to be continued by a later run (`journal: { resume: true }`). Without a
   * journal, or where no tensor is finished, it is discarded. Gives the number of tensors kept.
   */
  suspend(): Promise<number>;
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
 * With `journal` the temporary folder outlives a killed or suspended run, and a later one continues it tensor by tensor.
 * What other killed runs left beside `finalPath` is removed. Throws `OUTPUT_EXISTS`, `OUTPUT_IN_USE`, `UNSAFE_OUTPUT`,
 * `OUTPUT_UNFINISHED`, `RESUME_MISMATCH`, `NOT_PERMITTED`, `DISK_FULL`.
 */
export async function createOutputFolder(
  finalPath: string,
  options: OutputFolderOptions = {},
): Promise<FileOutputFolder> {
  const { force = false, lock = true, fileSystem = diskFileSystem(), journal } = options;
  const final = resolve(finalPath);
  await recoverLeftovers(final);
  await checkReplaceable(final, finalPath, force);
  const taken = await takeUnfinished(final, finalPath, {
    force,
    resume: journal?.resume ?? false,
    facts: journal?.facts,
  });
  const temporary = taken?.path ?? temporaryPath(final, journal === undefined ? "partial" : "resumable");
  const createdParent = taken === undefined ? await makeFolders(dirname(final), temporary, finalPath) : undefined;
  const path = journal === undefined ? temporary : join(temporary, outputName);
  const parts = { temporary, path, final, finalPath, force, fileSystem, createdParent };
  const folder = outputFolder({ ...parts, journal: await openJournal(parts, journal, taken) });
  if (lock) {
    const others: Temporary[] = [];
    for (const each of await findTemporaries(final)) {
      if (each.path !== temporary && !(await isAbandoned(each))) others.push(each);
    }
    if (others.length > 0) {
      await (taken === undefined ? folder.discard() : folder.suspend());
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

/** A journal in use, and what it said when it was opened. */
interface OpenJournal {
  readonly journal: Journal;
  readonly finished: ReadonlySet<string>;
}

/** Begins the journal of a new output, or goes on with that of one taken over. */
async function openJournal(
  {
    temporary,
    path,
    finalPath,
    createdParent,
  }: { temporary: string; path: string; finalPath: string; createdParent?: string },
  options: JournalOptions | undefined,
  taken: Unfinished | undefined,
): Promise<OpenJournal | undefined> {
  if (options === undefined) return undefined;
  const file = join(temporary, journalName);
  try {
    if (taken !== undefined) {
      return { journal: await continueJournal(file, taken.state), finished: taken.state.finished };
    }
    await mkdir(path);
    const journal = await createJournal(file, options.facts);
    await syncFolder(temporary);
    return { journal, finished: new Set() };
  } catch (cause) {
    if (taken === undefined) {
      await rm(temporary, { recursive: true, force: true });
      removeEmptyFolders(dirname(temporary), createdParent);
    }
    if (isDiskFull(cause)) throw diskFull(finalPath, undefined, undefined, cause);
    throw fileFault(cause, finalPath, "WRITE_FAILED", "writing the journal of the output failed");
  }
}

function outputFolder(parts: {
  /** The temporary sibling: `path` itself, or the folder around it where there is a journal. */
  temporary: string;
  path: string;
  final: string;
  finalPath: string;
  force: boolean;
  fileSystem: OutputFileSystem;
  createdParent: string | undefined;
  journal: OpenJournal | undefined;
}): FileOutputFolder {
  const { temporary, path, final, finalPath, force, fileSystem, createdParent, journal } = parts;
  const writers = new Map<TensorWriter, "open" | "done">();
  const reserved = new Set<string>();
  let state: "open" | "committed" | "discarded" | "suspended" = "open";
  let journaled: JournaledWriter | undefined;

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

  /** A writer for the plan; with a journal it continues what is there and keeps the journal. */
  const openWriter = async (plan: SafetensorsPlan): Promise<FileTensorWriter> => {
    if (journal === undefined) return createTensorWriter(path, plan, { fileSystem });
    if (journaled !== undefined) {
      throw new LoomweightError({
        code: "FILE_EXISTS",
        file: finalPath,
        problem: "an output with a journal has one writer, and this one has it already",
      });
    }
    try {
      await removeOthers(path, new Set(plan.files.map(({ name }) => name)));
      const writer = await createTensorWriter(path, plan, { fileSystem, finished: journal.finished });
      // A line of the journal is worth something only where the files can be found again.
      for (const each of [path, temporary, dirname(temporary)]) await syncFolder(each);
      journaled = journaledWriter(writer, journal.journal);
      return journaled;
    } catch (cause) {
      throw cause instanceof LoomweightError
        ? cause
        : fileFault(cause, finalPath, "WRITE_FAILED", "creating the output failed");
    }
  };
  const closeAll = async () => {
    await Promise.all([...writers.keys()].map((writer) => writer.abort()));
    await journal?.journal.close();
  };
  const discard = async () => {
    if (state === "committed" || state === "suspended") return;
    state = "discarded";
    await closeAll();
    await rm(temporary, { recursive: true, force: true, maxRetries: 3 });
    removeEmptyFolders(dirname(final), createdParent);
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
      const writer = await openWriter(plan);
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
        await journal?.journal.close();
        // Without its output it is nothing: the next run would take it away.
        if (journal !== undefined) await rm(temporary, { recursive: true, force: true }).catch(() => undefined);
      } catch (cause) {
        throw cause instanceof LoomweightError
          ? cause
          : fileFault(cause, finalPath, "WRITE_FAILED", "putting the output in its place failed");
      }
    },
    discard,
    async suspend() {
      if (state !== "open") return 0;
      // What cannot be flushed any more (the disk may be the reason) is done again.
      await journaled?.flush().catch(() => undefined);
      await closeAll();
      const kept = journal === undefined ? undefined : await readJournal(join(temporary, journalName));
      if (kept === undefined || kept.finished.size === 0) {
        await discard();
        return 0;
      }
      state = "suspended";
      await rename(temporary, temporaryPath(final, "resumable", { released: true }));
      return kept.finished.size;
    },
    discardSync() {
      if (state === "committed" || state === "suspended") return;
      state = "discarded";
      rmSync(temporary, { recursive: true, force: true, maxRetries: 3 });
      removeEmptyFolders(dirname(final), createdParent);
    },
  };
}

/** Removes what an earlier run wrote beside the weights: it is written again. */
async function removeOthers(path: string, kept: ReadonlySet<string>): Promise<void> {
  for (const name of await readdir(path)) {
    if (!kept.has(name)) await rm(join(path, name), { recursive: true, force: true });
  }
}

async function* piecesOf(source: ByteSource): AsyncIterable<Uint8Array> {
  for (let start = 0; start < source.size; start += copyBytes) {
    yield await source.read(start, Math.min(source.size, start + copyBytes));
  }
}

async function syncTree(path: string): Promise<void> {
  for (const entry of await readdir(path, { withFileTypes: true })) {
    if (entry.isDirectory()) await syncTree(join(path, entry.name));
  }
  await syncFolder(path);
}

function closedFolder(file: string, state: string): LoomweightError {
  return new LoomweightError({ code: "CLOSED", file, problem: `the output was ${state} already` });
}
