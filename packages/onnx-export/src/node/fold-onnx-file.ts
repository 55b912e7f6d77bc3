import { basename, dirname, join } from "node:path";
import { openAdapterFolder } from "@loomweight/adapters/node";
import { parseJsonObject } from "@loomweight/checkpoint";
import { folderFileSet } from "@loomweight/checkpoint/node";
import { openOnnxFile, writeOnnxFile } from "@loomweight/graph/node";
import { LoomweightError } from "@loomweight/tensor";
import { type FoldedGraph, type FoldGraphOptions, foldGraph } from "../fold/fold-graph.ts";
import { type ExportModelOptions, filesOf, stoppable } from "./export-model.ts";
import { checkOutput } from "./quantize-file.ts";

export interface FoldOnnxFileOptions
  extends Omit<FoldGraphOptions, "config" | "file">,
    Pick<ExportModelOptions, "maxExternalBytes" | "externalData"> {
  /** Replace an existing output; default false. */
  readonly force?: boolean;
  /** Called when tensors of the output have been written. */
  readonly onProgress?: (done: number, total: number) => void;
}

/** What was written, and what coding left of the adapters. */
export interface FoldedOnnxFile extends Omit<FoldedGraph, "model"> {
  readonly bytes: number;
  /** Names of the files of external data beside it. */
  readonly external: readonly string[];
}

/**
 * Folds PEFT adapters into an ONNX file, float or quantized, and writes another one with the same graph: see
 * `foldGraph`. config.json beside the file or above its folder says how GPT-2's layers are stored. Files appear only
 * when all are complete. Throws as `foldGraph`, and `OUTPUT_EXISTS`, `SAME_FILE`.
 */
export async function foldOnnxFile(
  input: string,
  adapterPaths: readonly string[],
  output: string,
  options: FoldOnnxFileOptions = {},
): Promise<FoldedOnnxFile> {
  const { force = false, maxExternalBytes = 1.9e9, externalData = "auto", onProgress, ...settings } = options;
  if (!output.endsWith(".onnx")) {
    throw new LoomweightError({
      code: "INVALID_OPTION",
      problem: "an ONNX file is folded into an ONNX file",
      option: "out",
      expected: "a name that ends with .onnx",
      found: output,
    });
  }
  await checkOutput(input, output, force);
  const opened: { close(): Promise<void> }[] = [];
  try {
    const { model, close } = await openOnnxFile(input);
    opened.push({ close });
    const adapters = await Promise.all(
      adapterPaths.map(async (path) => {
        if (path.endsWith(".safetensors")) throw foreignFile(path);
        const adapter = await openAdapterFolder(path);
        opened.push(adapter.checkpoint);
        return adapter;
      }),
    );
    const folded = await foldGraph(model, adapters, { ...settings, config: await configBeside(input), file: input });
    await writeOnnxFile(output, stoppable(folded.model, settings.signal), {
      ...{ externalData, maxExternalBytes, fileName: basename(output), signal: settings.signal },
      onProgress,
    });
    const { model: _, ...report } = folded;
    return { ...(await filesOf(dirname(output), basename(output))), ...report };
  } finally {
    await Promise.allSettled(opened.map((each) => each.close()));
  }
}

/** A graph's names are no help with kohya's: those need the model's own. */
function foreignFile(path: string): LoomweightError {
  return new LoomweightError({
    code: "UNSUPPORTED_ADAPTER",
    problem: "a single file of another tool cannot be folded into an ONNX file",
    file: path,
    expected: "a PEFT folder",
    fix: "Convert it first: loomweight convert FILE FOLDER --base MODEL.",
  });
}

/** config.json of an export: in the file's folder, or around its folder `onnx`. */
async function configBeside(input: string): Promise<Readonly<Record<string, unknown>> | undefined> {
  for (const folder of [dirname(input), join(dirname(input), "..")]) {
    const source = await (await folderFileSet(folder)).open("config.json");
    if (source === undefined) continue;
    try {
      return parseJsonObject(await source.read(0, source.size), source.name);
    } finally {
      await source.close();
    }
  }
  return undefined;
}
