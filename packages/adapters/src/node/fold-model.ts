import { createRequire } from "node:module";
import { basename, resolve } from "node:path";
import { type ModelFolder, planSafetensors, type TensorWriter } from "@loomweight/checkpoint";
import { folderFileSet, openModel, withOutputFolder } from "@loomweight/checkpoint/node";
import { byteLengthOf, elementCount } from "@loomweight/tensor";
import type { AdapterMethod } from "../define.ts";
import { foldedCheckpoint } from "../fold/folded-checkpoint.ts";
import { type CardSource, foldCard, statedLicence } from "../fold/model-card.ts";
import { type FoldedTensor, type FoldPlan, type FoldPlanOptions, planFold } from "../fold/plan.ts";
import type { Adapter } from "../peft/adapter.ts";
import type { Json } from "../peft/format.ts";
import { pythonJson } from "../peft/python-json.ts";
import { openAdapter } from "../peft/read-adapter.ts";

export interface FoldModelOptions extends FoldPlanOptions {
  /** Replace an existing output; default false. */
  readonly force?: boolean;
  /** Keep NaN and infinities instead of refusing them; default false. */
  readonly allowNonFinite?: boolean;
  /** Most bytes of one weights file; default 5 GB. */
  readonly maxShardBytes?: number;
  /** Bytes of the output made at a time; default 4 MB. */
  readonly tileBytes?: number;
  /** Which methods adapters may use; default all. */
  readonly methods?: readonly AdapterMethod[];
  readonly signal?: AbortSignal;
  onProgress?(progress: FoldProgress): void;
}

export interface FoldProgress {
  readonly tensor: string;
  readonly bytesDone: number;
  readonly bytesTotal: number;
}

export interface FoldResult {
  readonly path: string;
  /** Names of the tensors that adapters changed or added. */
  readonly changed: readonly string[];
  readonly tensors: number;
  readonly bytes: number;
  /** Names of the files written. */
  readonly files: readonly string[];
  readonly warnings: readonly string[];
}

/** Tiles in work at once: while one is computed the next is read and the last is written. */
const tilesAtOnce = 3;
const defaultTileBytes = 4 * 2 ** 20;

/**
 * Folds PEFT adapters into a model on disk, in the given order, and writes a folder with the same files: weights,
 * config.json, tokenizer and what else travels along, and a model card. Memory is bounded by tiles, not by tensors;
 * tensors that no adapter touches are copied byte for byte; results are rounded once. The output appears complete or
 * not at all.
 * Throws what opening, `planFold`, `createOutputFolder` throw, `NON_FINITE` naming the tensor, and the signal's reason.
 */
export async function foldModel(
  basePath: string,
  adapterPaths: readonly string[],
  outPath: string,
  options: FoldModelOptions = {},
): Promise<FoldResult> {
  const opened: { close(): Promise<void> }[] = [];
  try {
    const base = await openModel(basePath);
    opened.push(base);
    const adapters: Adapter[] = [];
    const warnings: string[] = [];
    for (const path of adapterPaths) {
      const files = await folderFileSet(path);
      const adapter = await openAdapter(files, { methods: options.methods });
      opened.push(adapter.checkpoint);
      adapters.push(adapter);
      if (files.names.some((name) => /^(tokenizer|vocab|added_tokens)/.test(name)) && base.files.size > 0) {
        warnings.push(`${path}: has tokenizer files of its own; the base's are kept`);
      }
    }
    const plan = planFold({ checkpoint: base.checkpoint, config: base.config }, adapters, options);
    warnings.unshift(...plan.warnings);
    const files = await withOutputFolder(outPath, { force: options.force }, async (folder) => {
      const layout = planSafetensors(plan.tensors.values(), { maxShardBytes: options.maxShardBytes });
      const writer = await folder.createWriter(layout);
      await writeTensors(plan, layout.tensors, writer, options);
      await writer.finish();
      const names = layout.files.map(({ name }) => name);
      for (const [name, source] of base.files) {
        if (name === "README.md") continue;
        if (name === "config.json" && Object.keys(plan.config).length > 0) {
          await folder.writeFile(name, `${pythonJson({ ...base.config, ...plan.config } as Json)}\n`);
        } else await folder.copyFile(name, source);
        names.push(name);
      }
      await folder.writeFile("README.md", await card(base, basePath, adapters, adapterPaths, warnings, options));
      return [...names, "README.md"];
    });
    return {
      path: outPath,
      changed: [...plan.tensors.values()].filter(isChanged(plan)).map(({ name }) => name),
      tensors: plan.tensors.size,
      bytes: totalBytes(plan),
      files,
      warnings,
    };
  } finally {
    await Promise.allSettled(opened.map((each) => each.close()));
  }
}

function isChanged(plan: FoldPlan): (tensor: FoldedTensor) => boolean {
  return ({ operations, source }) => operations.length > 0 || source.checkpoint !== plan.base;
}

function totalBytes(plan: FoldPlan): number {
  let total = 0;
  for (const { dtype, shape } of plan.tensors.values()) total += byteLengthOf(dtype, elementCount(shape));
  return total;
}

interface Tile {
  readonly name: string;
  readonly start: number;
  readonly end: number;
}

/** Tiles of the output in the order in which they lie in its files. */
function* tilesOf(plan: FoldPlan, order: readonly string[], tileBytes: number): Generator<Tile> {
  for (const name of order) {
    const tensor = plan.tensors.get(name) as FoldedTensor;
    const size = byteLengthOf(tensor.dtype, elementCount(tensor.shape));
    const step = tileStep(tensor, tileBytes, size);
    if (size === 0) continue;
    for (let start = 0; start < size; start += step) yield { name, start, end: Math.min(size, start + step) };
  }
}

/** Bytes of a tile: whole rows, in the multiples that its methods work on. */
function tileStep(tensor: FoldedTensor, tileBytes: number, size: number): number {
  if (!Number.isFinite(tensor.rowMultiple)) return size;
  const unit = byteLengthOf(tensor.dtype, tensor.rowLength) * tensor.rowMultiple;
  return Math.max(1, Math.floor(tileBytes / unit)) * unit;
}

async function writeTensors(
  plan: FoldPlan,
  places: ReadonlyMap<string, { readonly file: number; readonly position: number }>,
  writer: TensorWriter,
  options: FoldModelOptions,
): Promise<void> {
  const { tileBytes = defaultTileBytes, onProgress } = options;
  const folded = foldedCheckpoint(plan, { allowNonFinite: options.allowNonFinite });
  const order = [...places].sort(([, a], [, b]) => a.file - b.file || a.position - b.position).map(([name]) => name);
  const tiles = tilesOf(plan, order, tileBytes);
  const bytesTotal = totalBytes(plan);
  let bytesDone = 0;
  const failure = new AbortController();
  const signal = options.signal === undefined ? failure.signal : AbortSignal.any([options.signal, failure.signal]);
  const work = async () => {
    let buffer = new Uint8Array(0);
    for (const { name, start, end } of tiles) {
      signal.throwIfAborted();
      const size = end - start;
      if (buffer.length < size) buffer = new Uint8Array(size);
      const bytes = await folded.readBytes(name, { start, end, into: buffer.subarray(0, size), signal });
      await writer.write(name, start, bytes);
      bytesDone += size;
      onProgress?.({ tensor: name, bytesDone, bytesTotal });
    }
  };
  try {
    const workers = Array.from({ length: tilesAtOnce }, () =>
      work().catch((error: unknown) => {
        failure.abort(error); // the others stop before the output is discarded
        throw error;
      }),
    );
    const results = await Promise.allSettled(workers);
    options.signal?.throwIfAborted();
    if (failure.signal.aborted) throw failure.signal.reason;
    for (const result of results) if (result.status === "rejected") throw result.reason;
  } finally {
    await folded.close();
  }
}

async function card(
  base: ModelFolder,
  basePath: string,
  adapters: readonly Adapter[],
  adapterPaths: readonly string[],
  warnings: readonly string[],
  { dtype }: FoldModelOptions,
): Promise<string> {
  const nameOf = (path: string) => basename(resolve(path));
  const text = base.files.has("README.md") ? await base.readText("README.md") : "";
  const origin = base.config?._name_or_path;
  const sources = await Promise.all(
    adapters.map(async ({ method, config }, index): Promise<CardSource> => {
      const files = await folderFileSet(adapterPaths[index]);
      const readme = await files.open("README.md");
      let own = "";
      if (readme !== undefined) {
        own = new TextDecoder().decode(await readme.read(0, Math.min(readme.size, 65_536)));
        await readme.close();
      }
      const trainedOn = config.values.base_model_name_or_path;
      return {
        name: nameOf(adapterPaths[index]),
        origin: typeof trainedOn === "string" && isHubName(trainedOn) ? `trained on ${trainedOn}` : undefined,
        licence: statedLicence(own),
        method: method.name,
      };
    }),
  );
  const withoutPaths = (warning: string) => {
    let plain = warning
      .replaceAll(base.checkpoint.location, nameOf(basePath))
      .replaceAll(base.location, nameOf(basePath));
    adapters.forEach(({ location }, index) => {
      plain = plain.replaceAll(location, nameOf(adapterPaths[index]));
    });
    return plain;
  };
  return foldCard({
    base: {
      name: nameOf(basePath),
      origin: typeof origin === "string" && isHubName(origin) ? origin : undefined,
      licence: statedLicence(text),
    },
    adapters: sources,
    dtype,
    warnings: warnings.map(withoutPaths),
    tool: `@loomweight/adapters ${ownVersion()}`,
  });
}

/** "organisation/model": a name on the Hugging Face hub, not a path. */
function isHubName(text: string): boolean {
  return /^[\w-]+[\w.-]*\/[\w.-]+$/.test(text) && !text.startsWith(".");
}

function ownVersion(): string {
  const { version } = createRequire(import.meta.url)("@loomweight/adapters/package.json") as { version: string };
  return version;
}
