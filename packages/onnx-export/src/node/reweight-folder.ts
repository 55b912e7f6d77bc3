import { mkdir, readdir, stat } from "node:fs/promises";
import { basename, dirname, join, relative } from "node:path";
import { isCompanionFile, type ModelFolder, type OutputFolder, parseJsonObject } from "@loomweight/checkpoint";
import { fileSource, folderFileSet, openModel, withOutputFolder } from "@loomweight/checkpoint/node";
import { type ExternalFile, externalFiles, openOnnxFile, openSession, writeOnnxFile } from "@loomweight/graph/node";
import { LoomweightError } from "@loomweight/tensor";
import { checkConfigs } from "../reweight/check-configs.ts";
import type { GraphReweightReport } from "../reweight/report.ts";
import { reweightModel } from "../reweight/reweight-model.ts";
import { isDataOf } from "../verify/file-names.ts";

export interface ReweightFolderOptions {
  /** Folder of the model that was exported; weights are then found by their values too. */
  readonly base?: string;
  /** Replace an existing output; default false. */
  readonly force?: boolean;
  /** Load every written file once with onnxruntime, where it is installed; default true. */
  readonly verify?: boolean;
  /** Stops before the next file. */
  readonly signal?: AbortSignal;
  /** Called before each file is written. */
  readonly onProgress?: (event: { readonly file: string; readonly done: number; readonly total: number }) => void;
}

/** What a re-weighting wrote. Plain data. */
export interface ReweightReport {
  readonly files: readonly (GraphReweightReport & {
    /** Relative to the folder: "onnx/model_q4.onnx". */
    readonly name: string;
    readonly bytes: number;
    /** Whether onnxruntime loaded it; otherwise why not: it is not installed, or does not load the given file either. */
    readonly verified: true | string;
  })[];
  /** Files beside the graphs. */
  readonly companions: readonly string[];
}

/**
 * Writes the export at `path` (a folder, or one .onnx file) again with the weights of the model at `model`, into a new
 * folder `out` that appears only when it is complete. Files beside the graphs are the export's, and the model's where
 * it lacks them. Throws what `reweightModel`, `openModel`, `externalFiles` and `createOutputFolder` throw (an export
 * whose external data is not all there is refused), `CONFIG_MISMATCH`, `NO_ONNX_FILES`, `VERIFICATION_FAILED`.
 */
export async function reweightFolder(
  path: string,
  model: string,
  out: string,
  options: ReweightFolderOptions = {},
): Promise<ReweightReport> {
  const { files, root } = await onnxFiles(path);
  const opened: ModelFolder[] = [];
  try {
    const folder = await openModel(model);
    opened.push(folder);
    const base = options.base === undefined ? undefined : await openModel(options.base);
    if (base !== undefined) opened.push(base);
    const exported = root === undefined ? undefined : await configOf(root);
    const fresh = { config: folder.config, from: folder.location };
    checkConfigs({ config: exported, from: path }, fresh);
    if (base !== undefined) checkConfigs({ config: base.config, from: base.location }, fresh);
    return await withOutputFolder(out, { force: options.force ?? false }, (output) =>
      writeAll({ files, root }, folder, base, output, options),
    );
  } finally {
    await Promise.all(opened.map((each) => each.close()));
  }
}

interface Export {
  /** Model files by path, relative names beside. */
  readonly files: readonly { readonly path: string; readonly name: string }[];
  /** Folder of the export; undefined for a single file. */
  readonly root: string | undefined;
}

async function onnxFiles(path: string): Promise<Export> {
  let folder: boolean;
  try {
    folder = (await stat(path)).isDirectory();
  } catch (cause) {
    throw new LoomweightError({ code: "MISSING_FILE", problem: "there is no export here", file: path, cause });
  }
  if (!folder) return { files: [{ path, name: basename(path) }], root: undefined };
  const found: string[] = [];
  for (const inner of ["", "onnx"]) {
    const names = await readdir(join(path, inner)).catch(() => []);
    found.push(...names.filter((name) => name.endsWith(".onnx")).map((name) => join(path, inner, name)));
  }
  if (found.length === 0) {
    throw new LoomweightError({
      code: "NO_ONNX_FILES",
      problem: "the folder holds no .onnx file, nor does its folder onnx",
      file: path,
    });
  }
  return { files: found.sort().map((each) => ({ path: each, name: relative(path, each) })), root: path };
}

async function configOf(root: string): Promise<Readonly<Record<string, unknown>> | undefined> {
  const source = await (await folderFileSet(root)).open("config.json");
  if (source === undefined) return undefined;
  try {
    return parseJsonObject(await source.read(0, source.size), source.name);
  } finally {
    await source.close();
  }
}

async function writeAll(
  { files, root }: Export,
  folder: ModelFolder,
  base: ModelFolder | undefined,
  output: OutputFolder,
  { signal, onProgress = () => {}, verify = true }: ReweightFolderOptions,
): Promise<ReweightReport> {
  const written: ReweightReport["files"][number][] = [];
  for (const [done, { path, name }] of files.entries()) {
    signal?.throwIfAborted();
    onProgress({ file: name, done, total: files.length });
    const target = join(output.path, name);
    await mkdir(dirname(target), { recursive: true });
    const { model, close } = await openOnnxFile(path);
    try {
      const external = await externalFiles(path, model); // an export without its data is broken, and refused
      const { model: changed, report } = await reweightModel(model, folder.checkpoint, {
        base: base?.checkpoint,
        config: folder.config,
      });
      await writeOnnxFile(target, changed, {
        externalData: external.length > 0 || "auto",
        maxExternalBytes: longestFile(name, external),
        externalSuffix: external.some((each) => each.name.startsWith(`${basename(name)}.data`)) ? ".data" : undefined,
      });
      const bytes = await totalBytes(target);
      written.push({
        name,
        bytes,
        verified: verify ? await loads(target, path, name) : "verification is off",
        ...report,
      });
    } catch (cause) {
      throw cause instanceof LoomweightError ? inFile(cause, name) : cause;
    } finally {
      await close();
    }
  }
  return { files: written, companions: await copyCompanions(root, folder, output) };
}

/** Most bytes of one file of external data, so that there are as many as config.json announces to browsers. */
function longestFile(name: string, external: readonly ExternalFile[]): number | undefined {
  const usual = 1.9e9;
  const ours = external.every((each) => isDataOf(basename(name), each.name));
  if (!ours || external.length === 0) return usual;
  const longest = Math.max(...external.map(({ byteLength }) => byteLength));
  if (external.length > 1) return longest;
  return longest > usual ? undefined : usual;
}

/** The error with the model file it is about, which the parts that work on graphs do not know. */
function inFile(error: LoomweightError, name: string): LoomweightError {
  return new LoomweightError({ ...error.details, problem: `${name}: ${error.details.problem}`, cause: error });
}

async function totalBytes(path: string): Promise<number> {
  const names = (await readdir(dirname(path))).filter((name) => name.startsWith(basename(path)));
  const sizes = await Promise.all(names.map(async (name) => (await stat(join(dirname(path), name))).size));
  return sizes.reduce((sum, size) => sum + size, 0);
}

/** Whether a written file loads; a file that did not load before either is said to be so. */
async function loads(path: string, before: string, name: string): Promise<true | string> {
  try {
    const session = await openSession(path, { threads: 1 });
    await session.close();
    return true;
  } catch (cause) {
    if (cause instanceof LoomweightError && cause.code === "RUNTIME_MISSING") return cause.message;
    const loaded = await openSession(before, { threads: 1 }).then(
      (session) => session.close().then(() => true),
      () => false,
    );
    if (!loaded) return `onnxruntime does not load the export itself, either: ${(cause as Error).message}`;
    throw new LoomweightError({
      code: "VERIFICATION_FAILED",
      problem: `the written file does not load: ${cause instanceof Error ? cause.message : String(cause)}`,
      file: name,
      cause,
    });
  }
}

async function copyCompanions(root: string | undefined, folder: ModelFolder, output: OutputFolder): Promise<string[]> {
  const copied = new Set<string>();
  if (root !== undefined) {
    for (const name of await readdir(root)) {
      if (!isCompanionFile(name) && name !== "genai_config.json") continue;
      const source = await fileSource(join(root, name));
      await output.copyFile(name, source).finally(() => source.close());
      copied.add(name);
    }
  }
  for (const [name, source] of folder.files) {
    if (copied.has(name)) continue;
    await output.copyFile(name, source);
    copied.add(name);
  }
  return [...copied].sort();
}
