import { randomBytes } from "node:crypto";
import { type FileHandle, open, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { fileSource, folderFileSet } from "@loomweight/checkpoint/node";
import { LoomweightError } from "@loomweight/tensor";
import { beyondEnd, missingExternal, readOnnx } from "../codec/read-onnx.ts";
import { type ByteSink, type WriteOnnxOptions, writeOnnx } from "../codec/write-onnx.ts";
import type { OnnxGraph, OnnxModel } from "../model.ts";
import { subgraphsOf } from "../rewrite.ts";

/** A model whose weights are read from its files while it is in use. */
export interface OpenedOnnx {
  readonly model: OnnxModel;
  close(): Promise<void>;
}

/**
 * Opens an ONNX file; external data is looked for in its folder only (links of the Hugging Face cache to its own blobs
 * are followed). Reading weights needs it open; `close` it when done. Throws `MISSING_FILE`, `INVALID_ONNX`,
 * `UNSUPPORTED_DTYPE`, `TOO_LARGE`; reading weights may throw `MISSING_EXTERNAL_DATA`, `LINK_LEAVES_FOLDER`.
 */
export async function openOnnxFile(path: string): Promise<OpenedOnnx> {
  const source = await fileSource(path);
  const opened: { close(): Promise<void> }[] = [source];
  const close = async () => {
    await Promise.all(opened.splice(0).map((each) => each.close()));
  };
  try {
    const model = await readOnnx(source, {
      async external(location) {
        const files = await folderFileSet(dirname(path));
        const external = await files.open(location);
        if (external !== undefined) opened.push(external);
        return external;
      },
    });
    return { model, close };
  } catch (cause) {
    await close();
    throw cause;
  }
}

/** A file of external data. */
export interface ExternalFile {
  readonly name: string;
  /** Of the whole file. */
  readonly byteLength: number;
}

/**
 * The files beside an ONNX file that hold its weights, each found, inside the folder (or the hub cache's own blobs) and
 * long enough: what a runtime that is given the path will read. Throws `MISSING_EXTERNAL_DATA`, `LINK_LEAVES_FOLDER`,
 * `INVALID_ONNX`.
 */
export async function externalFiles(path: string, model: OnnxModel): Promise<ExternalFile[]> {
  const ends = new Map<string, { tensor: string; end: number }>();
  const visit = ({ initializers, nodes }: OnnxGraph) => {
    for (const { name, data } of initializers.values()) {
      if (data.external === undefined) continue;
      const { location, offset, byteLength } = data.external;
      const end = offset + byteLength;
      if (end >= (ends.get(location)?.end ?? 0)) ends.set(location, { tensor: name, end });
    }
    for (const node of nodes) for (const body of subgraphsOf(node)) visit(body);
  };
  visit(model.graph);
  if (ends.size === 0) return [];
  const files = await folderFileSet(dirname(path));
  const found: ExternalFile[] = [];
  for (const [location, { tensor, end }] of ends) {
    const source = await files.open(location);
    if (source === undefined) throw missingExternal(path, tensor, location);
    await source.close();
    if (end > source.size) throw beyondEnd(tensor, source, end);
    found.push({ name: location, byteLength: source.size });
  }
  return found;
}

/** As `openOnnxFile`, for the life of the process: the files stay open until it ends. */
export async function readOnnxFile(path: string): Promise<OnnxModel> {
  return (await openOnnxFile(path)).model;
}

/**
 * Writes a model and its external data: everything goes to temporary files beside it, which take their names when
 * complete, external data first. Files that were there are replaced. Throws what `writeOnnx` throws, `WRITE_FAILED`.
 */
export async function writeOnnxFile(
  path: string,
  model: OnnxModel,
  options: Omit<WriteOnnxOptions, "fileName"> = {},
): Promise<void> {
  const folder = dirname(path);
  const mark = `.${randomBytes(6).toString("hex")}.tmp`;
  const written: { temporary: string; final: string; file: FileHandle }[] = [];
  const openFile = async (name: string) => {
    const temporary = join(folder, `.${name}${mark}`);
    const file = await guarded(name, () => open(temporary, "wx"));
    written.push({ temporary, final: join(folder, name), file });
    return { write: (bytes: Uint8Array) => writeAll(file, name, bytes), close: async () => {} };
  };
  const name = basename(path);
  try {
    // The model is opened late, so that it is renamed last.
    let main: ByteSink | undefined;
    const sink = {
      async write(bytes: Uint8Array) {
        main ??= await openFile(name);
        await main.write(bytes);
      },
      external: openFile,
    };
    await writeOnnx(model, sink, { ...options, fileName: name });
    for (const { file } of written) await guarded(name, () => file.sync());
    for (const { file } of written) await file.close();
    for (const { temporary, final } of written) await guarded(name, () => rename(temporary, final));
  } catch (cause) {
    for (const { temporary, file } of written) {
      await file.close().catch(() => {});
      await rm(temporary, { force: true }).catch(() => {});
    }
    throw cause;
  }
}

async function writeAll(file: FileHandle, name: string, bytes: Uint8Array): Promise<void> {
  let done = 0;
  while (done < bytes.length) {
    const { bytesWritten } = await guarded(name, () => file.write(bytes, done, Math.min(bytes.length - done, 2 ** 30)));
    done += bytesWritten;
  }
}

async function guarded<T>(name: string, act: () => Promise<T>): Promise<T> {
  try {
    return await act();
  } catch (cause) {
    const full = (cause as NodeJS.ErrnoException).code === "ENOSPC";
    throw new LoomweightError({
      code: full ? "DISK_FULL" : "WRITE_FAILED",
      problem: full ? "the disk is full" : `writing failed: ${cause instanceof Error ? cause.message : String(cause)}`,
      file: name,
      fix: full ? "Free some space, or write elsewhere." : undefined,
      cause,
    });
  }
}
