import type { Checkpoint, ModelFolder, SafetensorsPlan } from "@loomweight/checkpoint";
import {
  abandonOutput,
  createOutputFolder,
  type FileTensorWriter,
  type JournalFacts,
} from "@loomweight/checkpoint/node";
import type { Json } from "../peft/format.ts";
import { pythonJson } from "../peft/python-json.ts";

export interface WriteModelOptions {
  /** Replace an existing output, and discard what an interrupted run left of it; default false. */
  readonly force?: boolean;
  /**
   * Continue what an interrupted run of the same command left, tensor by tensor, to the same bytes; default false. With
   * nothing to continue it begins anew.
   */
  readonly resume?: boolean;
  /** Bytes of the output made at a time; default 4 MB. */
  readonly tileBytes?: number;
  readonly signal?: AbortSignal;
  onProgress?(progress: FoldProgress): void;
  /** Called when the run was interrupted and what is finished was kept for `resume`. */
  onSuspend?(kept: { readonly tensorsDone: number; readonly tensorsTotal: number }): void;
}

export interface FoldProgress {
  readonly tensor: string;
  readonly bytesDone: number;
  readonly bytesTotal: number;
}

/** A model about to be written. */
export interface ModelToWrite {
  /** All that decides its bytes: a run is continued only by one with the same. */
  readonly facts: JournalFacts;
  readonly layout: SafetensorsPlan;
  /** Where the bytes of the layout's tensors come from. */
  readonly read: Checkpoint["readBytes"];
  /** A tile of this tensor is a multiple of so many bytes; Infinity: only the whole tensor. */
  readonly tileUnit: (tensor: string) => number;
  /** The folder whose companion files go along. */
  readonly model: ModelFolder;
  /** What config.json holds instead of its own; default its own file. */
  readonly config?: Readonly<Record<string, unknown>>;
  /** Text of README.md. */
  readonly card: () => Promise<string>;
}

/** What was written. */
export interface WrittenModel {
  readonly files: readonly string[];
  readonly bytes: number;
  /** Tensors that an interrupted run had finished. */
  readonly tensorsKept: number;
}

/** Tiles in work at once: while one is computed the next is read and the last is written. */
const tilesAtOnce = 3;
const defaultTileBytes = 4 * 2 ** 20;

/**
 * Writes a model folder tile by tile: weights, config.json and what else travels along, and a model card. It appears
 * under its name when it is complete; what is finished outlives an abort, a full disk or a kill, for `resume`.
 */
export async function writeModel(
  outPath: string,
  output: ModelToWrite,
  options: WriteModelOptions = {},
): Promise<WrittenModel> {
  const { layout, model, config } = output;
  const journal = { facts: output.facts, resume: options.resume };
  const folder = await createOutputFolder(outPath, { force: options.force, journal });
  try {
    const writer = await folder.createWriter(layout);
    await writeTensors(output, writer, options);
    await writer.finish();
    const files = layout.files.map(({ name }) => name);
    for (const [name, source] of model.files) {
      if (name === "README.md") continue;
      if (name === "config.json" && config !== undefined) {
        await folder.writeFile(name, `${pythonJson(config as Json)}\n`);
      } else await folder.copyFile(name, source);
      files.push(name);
    }
    await folder.writeFile("README.md", await output.card());
    await folder.commit();
    return { files: [...files, "README.md"], bytes: totalBytes(layout), tensorsKept: writer.finished.size };
  } catch (error) {
    throw await abandonOutput(folder, error, { ...options, tensorsTotal: layout.tensors.size });
  }
}

function totalBytes({ tensors }: SafetensorsPlan): number {
  let total = 0;
  for (const { byteLength } of tensors.values()) total += byteLength;
  return total;
}

interface Tile {
  readonly name: string;
  readonly start: number;
  readonly end: number;
}

/** Tiles of the output in the order in which they lie in its files; none of what is finished. */
function* tilesOf(
  { layout, tileUnit }: ModelToWrite,
  finished: ReadonlySet<string>,
  tileBytes: number,
): Generator<Tile> {
  const order = [...layout.tensors].sort(([, a], [, b]) => a.file - b.file || a.position - b.position);
  for (const [name, { byteLength }] of order) {
    if (finished.has(name)) continue;
    const unit = tileUnit(name);
    const step = Number.isFinite(unit) ? Math.max(1, Math.floor(tileBytes / unit)) * unit : byteLength;
    let start = 0;
    do {
      const end = Math.min(byteLength, start + step);
      yield { name, start, end };
      start = end;
    } while (start < byteLength);
  }
}

async function writeTensors(
  output: ModelToWrite,
  writer: FileTensorWriter,
  { tileBytes = defaultTileBytes, onProgress, signal: outer }: WriteModelOptions,
): Promise<void> {
  const { layout } = output;
  const tiles = tilesOf(output, writer.finished, tileBytes);
  const bytesTotal = totalBytes(layout);
  const missing = new Map<string, number>();
  let bytesDone = 0;
  for (const [name, { byteLength }] of layout.tensors) {
    if (writer.finished.has(name)) bytesDone += byteLength;
    else missing.set(name, byteLength);
  }
  const failure = new AbortController();
  const signal = outer === undefined ? failure.signal : AbortSignal.any([outer, failure.signal]);
  const work = async () => {
    let buffer = new Uint8Array(0);
    for (const { name, start, end } of tiles) {
      signal.throwIfAborted();
      const size = end - start;
      if (buffer.length < size) buffer = new Uint8Array(size);
      if (size > 0) {
        const bytes = await output.read(name, { start, end, into: buffer.subarray(0, size), signal });
        await writer.write(name, start, bytes);
      }
      const left = (missing.get(name) as number) - size;
      missing.set(name, left);
      if (left === 0) writer.complete(name);
      bytesDone += size;
      onProgress?.({ tensor: name, bytesDone, bytesTotal });
    }
  };
  const workers = Array.from({ length: tilesAtOnce }, () =>
    work().catch((error: unknown) => {
      failure.abort(error); // the others stop before the output is closed
      throw error;
    }),
  );
  const results = await Promise.allSettled(workers);
  outer?.throwIfAborted();
  if (failure.signal.aborted) throw failure.signal.reason;
  for (const result of results) if (result.status === "rejected") throw result.reason;
}
