import { link, rename, rm, stat } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { LoomweightError, type Tensor } from "@loomweight/tensor";
import { planSafetensors } from "../plan.ts";
import { tensorBytes } from "../tensor-bytes.ts";
import { plannedTensors, type WriteSafetensorsOptions } from "../write-safetensors.ts";
import { diskFull, fileFault, isDiskFull, systemCode } from "./file-faults.ts";
import { diskFileSystem, type OutputFileSystem, syncFolder } from "./output-file-system.ts";
import { recoverLeftovers, temporaryPath } from "./temporary-names.ts";
import { writeAll } from "./tensor-writer.ts";

export interface SaveSafetensorsOptions extends WriteSafetensorsOptions {
  /** Replace an existing file; default false. */
  readonly force?: boolean;
  /** Default the disk. */
  readonly fileSystem?: OutputFileSystem;
}

/**
 * Writes tensors into one safetensors file, which appears under `path` only when it is complete and flushed to disk.
 * Throws `OUTPUT_EXISTS`, `DISK_FULL`, `UNSUPPORTED_DTYPE`, and as `planSafetensors`.
 */
export async function saveSafetensors(
  path: string,
  tensors: ReadonlyMap<string, Tensor>,
  options: SaveSafetensorsOptions = {},
): Promise<void> {
  const { force = false, metadata, fileSystem = diskFileSystem() } = options;
  const plan = planSafetensors(plannedTensors(tensors), { metadata, maxShardBytes: Number.MAX_SAFE_INTEGER });
  const [file] = plan.files;
  const final = resolve(path);
  const exists = () =>
    new LoomweightError({
      code: "OUTPUT_EXISTS",
      file: path,
      problem: "the output exists already",
      fix: "Choose another name, remove it, or replace it with `force` (on the command line: --force).",
    });
  if (!force && (await stat(final).catch(() => undefined)) !== undefined) throw exists();
  const temporary = temporaryPath(final, "partial");
  try {
    await recoverLeftovers(final);
    const free = await fileSystem.freeBytes(dirname(final));
    if (free !== undefined && free < file.size) throw diskFull(path, file.size, free);
    const handle = await fileSystem.open(temporary, "wx");
    try {
      await writeAll(handle, file.header, 0);
      for (const [name, { position }] of plan.tensors) {
        await writeAll(handle, tensorBytes(tensors.get(name)!, name), position);
      }
      await handle.sync();
    } finally {
      await handle.close();
    }
    if (force) await rename(temporary, final);
    else {
      // A link, unlike a rename, never replaces a file that appeared meanwhile.
      await link(temporary, final).catch(async (cause: unknown) => {
        if (systemCode(cause) === "EEXIST") throw exists();
        await rename(temporary, final); // a file system without links
      });
    }
    await syncFolder(dirname(final));
  } catch (cause) {
    if (cause instanceof LoomweightError) throw cause;
    if (isDiskFull(cause)) throw diskFull(path, file.size, await fileSystem.freeBytes(dirname(final)), cause);
    throw fileFault(cause, path, "WRITE_FAILED", "writing failed");
  } finally {
    await rm(temporary, { force: true });
  }
}
