import { access, realpath, stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { openOnnxFile, writeOnnxFile } from "@loomweight/graph/node";
import type { QuantizeModelOptions, TensorReport } from "@loomweight/quant";
import { LoomweightError } from "@loomweight/tensor";
import { checkDTypes, type ExportDType } from "../dtypes.ts";
import { type ExportModelOptions, filesOf, stoppable } from "./export-model.ts";
import { joinReports, quantizedModel, withPlainWeights } from "./shared-models.ts";
import { type ThreadOptions, threadsFor } from "./threads.ts";

export interface QuantizeFileOptions
  extends Omit<QuantizeModelOptions, "onTensor">,
    Pick<ExportModelOptions, "maxExternalBytes" | "externalData" | "signal">,
    ThreadOptions {
  /** Replace an existing output; default false. */
  readonly force?: boolean;
  /** Called when tensors of the output have been written. */
  readonly onProgress?: (done: number, total: number) => void;
}

export interface QuantizedFile {
  /** Bytes of the model and its external data. */
  readonly bytes: number;
  /** Names of the files of external data beside it. */
  readonly external: readonly string[];
  /** What quantizing did to each weight, in the order of writing; empty for fp32 and fp16. */
  readonly weights: readonly TensorReport[];
}

/**
 * Quantizes any ONNX file, with or without external data, to another one: `dtype` as in exports, accuracyLevel 4 by
 * default. Weights pass through memory one at a time. Nodes of local functions are put in place of their calls, so that
 * weights are coded there too, and weights in Constant nodes become initializers. The output's external data is named after it; files appear only
 * when all are complete. Throws what reading, `quantizeModel` and writing throw, and `OUTPUT_EXISTS`,
 * `SAME_FILE`, `NOT_AN_ONNX_FILE`, `NOTHING_QUANTIZED` where no weight of the graph can take the dtype.
 */
export async function quantizeFile(
  input: string,
  output: string,
  dtype: ExportDType,
  options: QuantizeFileOptions = {},
): Promise<QuantizedFile> {
  const { force = false, maxExternalBytes = 1.9e9, externalData = "auto", ...others } = options;
  const { signal, onProgress, workers, ...settings } = others;
  checkDTypes([dtype]);
  await checkInput(input);
  await checkOutput(input, output, force);
  const { model: given, close } = await openOnnxFile(input);
  try {
    const model = await withPlainWeights(given, dtype);
    const layout = { externalData, maxExternalBytes };
    const key = basename(output);
    const shared = quantizedModel(model, dtype, settings, { ...layout, fileName: key });
    const { model: quantized, drain } = shared;
    if (dtype !== "fp32" && dtype !== "fp16" && sameNodes(model.graph.nodes, quantized.graph.nodes)) {
      throw new LoomweightError({
        code: "NOTHING_QUANTIZED",
        problem: `no weight of this graph can be quantized to ${dtype}`,
        file: input,
        expected: "MatMul or Gemm nodes with constant float32 or float16 weights",
        fix: "Start from the float file of the model; one that is quantized already cannot be quantized again.",
      });
    }
    const pool = threadsFor(
      [quantized],
      { kind: "quantize", path: input, dtype, options: settings, layout },
      { workers },
    );
    let reports: readonly unknown[] = [];
    try {
      await writeOnnxFile(output, stoppable(quantized, signal), {
        ...layout,
        pool: pool && { pool, key },
        drain,
        collect: (all) => {
          reports = all;
        },
        onProgress,
        signal,
      });
    } finally {
      await pool?.close();
    }
    return { ...(await filesOf(dirname(output), basename(output))), weights: joinReports(reports).weights };
  } finally {
    await close();
  }
}

function sameNodes(before: readonly unknown[], after: readonly unknown[]): boolean {
  return before.length === after.length && before.every((node, i) => node === after[i]);
}

/** Refuses an output that is the input, or that exists. */
/** What is easily given in place of an ONNX file is answered by what to do with it. */
async function checkInput(input: string): Promise<void> {
  const refuse = (problem: string, fix: string) => {
    throw new LoomweightError({ code: "NOT_AN_ONNX_FILE", problem, file: input, expected: "a float .onnx file", fix });
  };
  const found = await stat(input).catch(() => undefined); // opening it says what is wrong
  if (found?.isDirectory()) {
    const exported = await stat(join(input, "onnx")).catch(() => undefined);
    const fix = exported?.isDirectory()
      ? `Name a file in it, such as ${join(input, "onnx", "model.onnx")}.`
      : "Name a file in it; a model's folder is quantized while it is exported (loomweight export).";
    refuse("this is a folder", fix);
  }
  if (/\.(safetensors|bin|pt|pth|gguf)(\.index\.json)?$/.test(input)) {
    refuse(
      "these are weights without a graph",
      "Quantize the model's folder while it is exported (loomweight export).",
    );
  }
}

export async function checkOutput(input: string, output: string, force: boolean): Promise<void> {
  const found = await realpath(output).catch(() => undefined);
  if (found === undefined) {
    const folder = dirname(resolve(output));
    await access(folder).catch((cause: unknown) => {
      throw new LoomweightError({ code: "MISSING_FOLDER", problem: "there is no such folder", file: folder, cause });
    });
    return;
  }
  if (found === (await realpath(input).catch(() => undefined))) {
    throw new LoomweightError({
      code: "SAME_FILE",
      problem: "input and output are the same file",
      file: output,
      fix: `Write to another name, such as ${join(dirname(output), "model_q4.onnx")}.`,
    });
  }
  if (force) return;
  throw new LoomweightError({
    code: "OUTPUT_EXISTS",
    problem: "the output exists already",
    file: output,
    fix: "Give another name, or `force` (--force) to replace it.",
  });
}
