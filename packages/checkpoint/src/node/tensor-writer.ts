import { type FileHandle, rm } from "node:fs/promises";
import { join } from "node:path";
import { LoomweightError } from "@loomweight/tensor";
import type { SafetensorsPlan, TensorWriter } from "../checkpoint.ts";
import { type Coverage, claim, createCoverage, unclaim, unclaimed } from "../coverage.ts";
import { unknownTensor } from "../lazy-checkpoint.ts";
import { indexFileName } from "../plan.ts";
import { diskFull, fileFault, isDiskFull } from "./file-faults.ts";
import { diskFileSystem, type OutputFileSystem } from "./output-file-system.ts";

/** A `TensorWriter` that also counts what other threads wrote. */
export interface FileTensorWriter extends TensorWriter {
  /** Tensors that an earlier run finished: they are not written again. Empty unless an output is continued. */
  readonly finished: ReadonlySet<string>;
  /** Notes that another thread wrote these bytes (`openPositionalWriter`). Throws `ALREADY_WRITTEN`. */
  markWritten(name: string, start: number, end: number): void;
  /**
   * Notes that every write of a tensor has ended, for outputs that can be continued after an interruption. Throws
   * `INCOMPLETE_OUTPUT` where bytes of it are missing.
   */
  complete(name: string): void;
  /** Flushes the data of these files of the plan to disk. */
  sync(files: Iterable<number>): Promise<void>;
}

/**
 * Creates the files of a plan in `folder` at their full size and writes tensors into them positionally: any order,
 * several writes at a time, each byte once. Free space is checked before anything is created. With `finished`, what an
 * earlier run left there is continued: files that are as this run would have created them stay, with those tensors.
 * Throws `DISK_FULL`, `FILE_EXISTS`, and from `write`: `UNKNOWN_TENSOR`, `INVALID_RANGE`, `ALREADY_WRITTEN`.
 */
export async function createTensorWriter(
  folder: string,
  plan: SafetensorsPlan,
  options: { fileSystem?: OutputFileSystem; finished?: ReadonlySet<string> } = {},
): Promise<FileTensorWriter> {
  const { fileSystem = diskFileSystem() } = options;
  const handles: FileHandle[] = [];
  const close = async () => {
    await Promise.all(handles.splice(0).map((handle) => handle.close()));
  };
  /** The error of a failed write, with the space that is left. */
  const failed = async (cause: unknown, file: string) =>
    isDiskFull(cause)
      ? diskFull(join(folder, file), needed, await fileSystem.freeBytes(folder), cause)
      : fileFault(cause, join(folder, file), "WRITE_FAILED", "writing failed");
  const present = options.finished === undefined ? new Map() : await openFinishedFiles(folder, plan, fileSystem);
  const finished = new Set<string>();
  for (const [name, { file }] of plan.tensors) {
    if (options.finished?.has(name) && present.has(file)) finished.add(name);
  }
  const held = [...present.values()].reduce((total, { bytesHeld }) => total + bytesHeld, 0);
  const size = plan.files.reduce((total, file) => total + file.size, plan.index?.length ?? 0);
  const needed = Math.max(0, size - held);
  try {
    const free = await fileSystem.freeBytes(folder);
    if (free !== undefined && free < needed) throw diskFull(folder, needed, free);
    for (const [index, file] of plan.files.entries()) {
      const known = present.get(index);
      if (known !== undefined) {
        handles.push(known.handle);
        present.delete(index);
        continue;
      }
      try {
        const handle = await fileSystem.open(join(folder, file.name), "wx");
        handles.push(handle);
        await handle.truncate(file.size);
        await writeAll(handle, file.header, 0);
      } catch (cause) {
        throw (cause as { code?: unknown }).code === "EEXIST"
          ? fileExists(join(folder, file.name))
          : await failed(cause, file.name);
      }
    }
  } catch (error) {
    await Promise.all([...present.values()].map(({ handle }) => handle.close()));
    await close();
    throw error;
  }

  const written = new Map<string, Coverage>();
  const pending = new Set<Promise<void>>();
  const claimRange = (name: string, start: number, end: number) => {
    const place = plan.tensors.get(name);
    if (place === undefined) throw unknownTensor(name, folder, plan.tensors);
    const file = plan.files[place.file].name;
    if (!Number.isSafeInteger(start) || start < 0 || end < start || end > place.byteLength) {
      throw rangeFault("INVALID_RANGE", file, name, `a range inside ${place.byteLength} bytes`, start, end);
    }
    let coverage = written.get(name);
    if (coverage === undefined) written.set(name, (coverage = createCoverage()));
    if (!claim(coverage, start, end)) {
      throw rangeFault("ALREADY_WRITTEN", file, name, "each byte to be written once", start, end);
    }
    return { ...place, name: file, coverage };
  };
  const writeRange = async (name: string, start: number, bytes: Uint8Array) => {
    const end = start + bytes.length;
    const place = claimRange(name, start, end);
    try {
      await writeAll(handles[place.file], bytes, place.position + start);
    } catch (cause) {
      unclaim(place.coverage, start, end);
      throw await failed(cause, place.name);
    }
  };
  for (const name of finished) claimRange(name, 0, plan.tensors.get(name)?.byteLength ?? 0);
  let open = true;
  const checkOpen = () => {
    if (!open) throw new LoomweightError({ code: "CLOSED", file: folder, problem: "the writer is closed" });
  };
  return {
    plan,
    finished,
    async write(name, start, bytes) {
      checkOpen();
      const writing = writeRange(name, start, bytes);
      pending.add(writing);
      try {
        await writing;
      } finally {
        pending.delete(writing);
      }
    },
    markWritten(name, start, end) {
      checkOpen();
      claimRange(name, start, end);
    },
    complete(name) {
      checkOpen();
      const place = plan.tensors.get(name);
      if (place === undefined) throw unknownTensor(name, folder, plan.tensors);
      checkComplete(folder, new Map([[name, place]]), written);
    },
    async sync(files) {
      checkOpen();
      for (const file of files) {
        try {
          await handles[file].datasync();
        } catch (cause) {
          throw await failed(cause, plan.files[file].name);
        }
      }
    },
    async finish() {
      checkOpen();
      await Promise.allSettled(pending); // writes that were not awaited
      checkComplete(folder, plan.tensors, written);
      for (const [file, handle] of handles.entries()) {
        try {
          await handle.sync();
        } catch (cause) {
          throw await failed(cause, plan.files[file].name);
        }
      }
      if (plan.index !== undefined) {
        const name = indexFileName(plan);
        try {
          const handle = await fileSystem.open(join(folder, name), "wx");
          handles.push(handle);
          await writeAll(handle, new TextEncoder().encode(plan.index), 0);
          await handle.sync();
        } catch (cause) {
          throw await failed(cause, name);
        }
      }
      open = false;
      await close();
    },
    async abort() {
      open = false;
      await close();
    },
  };
}

/** Writing into the files of a plan that another thread created: for workers, which note what they wrote themselves. */
export interface PositionalWriter {
  /** Writes `bytes` of a tensor at `start`, relative to its data. */
  write(name: string, start: number, bytes: Uint8Array): Promise<void>;
  close(): Promise<void>;
}

/** Opens the files of `plan` that `createTensorWriter` created in `folder`; nothing is created, checked or flushed. */
export async function openPositionalWriter(folder: string, plan: SafetensorsPlan): Promise<PositionalWriter> {
  const handles: FileHandle[] = [];
  const close = async () => {
    await Promise.all(handles.splice(0).map((handle) => handle.close()));
  };
  const fileSystem = diskFileSystem();
  for (const { name } of plan.files) {
    try {
      handles.push(await fileSystem.open(join(folder, name), "r+"));
    } catch (cause) {
      await close();
      throw fileFault(cause, join(folder, name), "WRITE_FAILED", "opening for writing failed");
    }
  }
  return {
    async write(name, start, bytes) {
      const place = plan.tensors.get(name);
      if (place === undefined) throw unknownTensor(name, folder, plan.tensors);
      const file = plan.files[place.file].name;
      if (!Number.isSafeInteger(start) || start < 0 || start + bytes.length > place.byteLength) {
        throw rangeFault(
          "INVALID_RANGE",
          file,
          name,
          `a range inside ${place.byteLength} bytes`,
          start,
          start + bytes.length,
        );
      }
      try {
        await writeAll(handles[place.file], bytes, place.position + start);
      } catch (cause) {
        if (isDiskFull(cause)) throw diskFull(join(folder, file), undefined, await fileSystem.freeBytes(folder), cause);
        throw fileFault(cause, join(folder, file), "WRITE_FAILED", "writing failed");
      }
    },
    close,
  };
}

/** Writes all of `bytes` at `position`: one call may write less. */
export async function writeAll(handle: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  let done = 0;
  while (done < bytes.length) {
    const { bytesWritten } = await handle.write(bytes, done, Math.min(bytes.length - done, 2 ** 30), position + done);
    done += bytesWritten;
  }
}

/** Files of the plan that an earlier run created, as far as they are what it would have created. The others go. */
async function openFinishedFiles(
  folder: string,
  plan: SafetensorsPlan,
  fileSystem: OutputFileSystem,
): Promise<Map<number, { readonly handle: FileHandle; readonly bytesHeld: number }>> {
  const present = new Map<number, { handle: FileHandle; bytesHeld: number }>();
  for (const [index, { name, size, header }] of plan.files.entries()) {
    const path = join(folder, name);
    const handle = await fileSystem.open(path, "r+").catch(() => undefined);
    if (handle !== undefined) {
      const found = await handle.stat();
      const begin = Buffer.alloc(header.length);
      const { bytesRead } = await handle.read(begin, 0, begin.length, 0);
      if (found.isFile() && found.size === size && bytesRead === begin.length && begin.equals(header)) {
        // Files are created at their full size: what the disk holds of them is in blocks of 512 bytes.
        present.set(index, { handle, bytesHeld: Math.min(size, (found.blocks ?? 0) * 512) });
        continue;
      }
      await handle.close();
    }
    await rm(path, { force: true, recursive: true });
  }
  return present;
}

function checkComplete(
  folder: string,
  tensors: SafetensorsPlan["tensors"],
  written: ReadonlyMap<string, Coverage>,
): void {
  const missing: string[] = [];
  let first: string | undefined;
  let bytes = 0;
  for (const [name, { byteLength }] of tensors) {
    const gaps = unclaimed(written.get(name) ?? createCoverage(), byteLength);
    if (gaps.length === 0) continue;
    first ??= name;
    for (const { start, end } of gaps) bytes += end - start;
    if (missing.length < 5) missing.push(`"${name}" bytes ${gaps[0].start} to ${gaps[0].end} of ${byteLength}`);
  }
  if (first === undefined) return;
  throw new LoomweightError({
    code: "INCOMPLETE_OUTPUT",
    file: folder,
    tensor: first,
    problem: `${bytes} bytes of the output were not written: ${missing.join(", ")}`,
    expected: "every byte of every tensor",
  });
}

function rangeFault(
  code: string,
  file: string,
  tensor: string,
  expected: string,
  start: number,
  end: number,
): LoomweightError {
  const problem = code === "ALREADY_WRITTEN" ? "a part of these bytes was written before" : "range outside the tensor";
  return new LoomweightError({ code, file, tensor, problem, expected, found: `[${start}, ${end})` });
}

function fileExists(file: string): LoomweightError {
  return new LoomweightError({ code: "FILE_EXISTS", file, problem: "the file exists already" });
}
