import { randomBytes } from "node:crypto";
import { type FileHandle, open, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { layoutOnnx } from "../codec/layout.ts";
import type { WriteOnnxOptions } from "../codec/write-onnx.ts";
import type { OnnxModel } from "../model.ts";
import { digestOf, guarded, unitsOf, writeAt, writeUnit } from "./write-units.ts";
import type { WriterPool } from "./writer-pool.ts";

export interface WriteOnnxFileOptions extends Omit<WriteOnnxOptions, "fileName"> {
  /** Threads that share the work, and the key by which they know this model; default the calling thread alone. */
  readonly pool?: { readonly pool: WriterPool; readonly key: string };
  /** Called when tensors are in their files: how many of how many. */
  readonly onProgress?: (done: number, total: number) => void;
  /** What computing has taught since the last call, for `collect`; see `SharedModel.drain`, which the pool's threads have. */
  readonly drain?: () => unknown;
  /** Is given what all threads drained, in the order of the weights, when the files are complete. */
  readonly collect?: (reports: readonly unknown[]) => void;
  readonly signal?: AbortSignal;
}

/** The disk begins to write whenever this many bytes have been handed to the system. */
const bytesPerSync = 2 ** 27;

/**
 * Writes a model and its external data: everything goes to temporary files beside it, which take their names when
 * complete, external data first. Files that were there are replaced. The same model gives the same bytes. Throws what
 * `writeOnnx` throws, `WRITE_FAILED`, `DISK_FULL`.
 */
export async function writeOnnxFile(path: string, model: OnnxModel, options: WriteOnnxFileOptions = {}): Promise<void> {
  const { pool, onProgress, drain, collect, signal, ...layout } = options;
  const folder = dirname(path);
  const name = basename(path);
  const mark = `.${randomBytes(6).toString("hex")}.tmp`;
  const files = await layoutOnnx(model, { ...layout, fileName: name });
  const opened: { temporary: string; final: string; file: FileHandle }[] = [];
  let syncing: Promise<unknown> = Promise.resolve();
  try {
    for (const { name: each, byteLength, known } of files) {
      const temporary = join(folder, `.${each}${mark}`);
      const file = await guarded(each, () => open(temporary, "wx"));
      opened.push({ temporary, final: join(folder, each), file });
      if (byteLength > 0) await guarded(each, () => file.truncate(byteLength));
      for (const { offset, bytes } of known) await writeAt(file, each, bytes, offset);
    }
    const handles = opened.map(({ file }) => file);
    const units = unitsOf(files);
    const total = units.reduce((sum, { segments }) => sum + segments.length, 0);
    const reports: unknown[] = [];
    let done = 0;
    let unsynced = 0;
    const onFinished = (unit: number, report: unknown) => {
      reports[unit] = report;
      done += units[unit].segments.length;
      unsynced += units[unit].byteLength;
      if (unsynced >= bytesPerSync) {
        unsynced = 0;
        // in the background: what fails here fails again below
        const all = () => Promise.all(handles.map((each) => each.datasync()));
        syncing = syncing.then(all).catch(() => {});
      }
      onProgress?.(done, total);
    };
    const writeHere = async (unit: number) => {
      signal?.throwIfAborted();
      await writeUnit(units[unit], handles, name);
      return drain?.();
    };
    if (pool !== undefined) {
      const paths = opened.map(({ temporary }) => temporary);
      const { key } = pool;
      await pool.pool.run({ key, digest: digestOf(files), paths, units, writeHere, onFinished, signal });
    } else {
      for (const unit of units.keys()) onFinished(unit, await writeHere(unit));
    }
    await syncing;
    for (const { file } of opened) await guarded(name, () => file.sync());
    for (const { file } of opened) await file.close();
    for (const { temporary, final } of opened) await guarded(name, () => rename(temporary, final));
    collect?.(reports);
  } catch (cause) {
    await syncing;
    for (const { temporary, file } of opened) {
      await file.close().catch(() => {});
      await rm(temporary, { force: true }).catch(() => {});
    }
    throw cause;
  }
}
