import { dirname } from "node:path";
import { fileSource, folderFileSet } from "@loomweight/checkpoint/node";
import { beyondEnd, missingExternal, readOnnx } from "../codec/read-onnx.ts";
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
