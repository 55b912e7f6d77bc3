import { realpath, stat } from "node:fs/promises";
import { basename, dirname, join, relative } from "node:path";
import { isPlainRelativePath } from "@loomweight/checkpoint";
import { openModel } from "@loomweight/checkpoint/node";
import { writeOnnxFile } from "@loomweight/graph/node";
import { LoomweightError } from "@loomweight/tensor";
import { keepInPlace } from "../in-place.ts";
import { type ExportOptions, planExport } from "../plan.ts";
import type { ExportedFile, ExportReport, Verification } from "../report.ts";
import { stoppable } from "./export-model.ts";
import { verifyFiles } from "./verify.ts";

export interface ExportInPlaceOptions
  extends Pick<
    ExportOptions,
    "task" | "fuse" | "devices" | "logitsToKeep" | "batchSize" | "ignoreConfig" | "ignoreTensors"
  > {
  /** Arithmetic of the graph: "fp32" (default) or "fp16". The weights stay as they are stored. */
  readonly dtype?: "fp32" | "fp16";
  /** Replace model files that exist; default false. */
  readonly force?: boolean;
  /** Load and run each file once; default true. */
  readonly verify?: boolean;
  readonly signal?: AbortSignal;
}

/**
 * Writes `model.onnx` (or an encoder's and a decoder's file) beside the safetensors files of the folder at `path`: the
 * graph alone, a few hundred kilobytes, whose external data are those files. Nothing is copied; a checkpoint that is
 * changed afterwards changes the model, and one that is moved takes the model file along.
 *
 * For onnxruntime in Node, Python and the like, which map files beside the model; browsers cannot load it. Weights
 * that are stored in another dtype or transposed are converted when a session is made, which takes as long and as much
 * memory as the float32 form of the model does.
 * @throws what `openModel` and `planExport` throw, `OUTPUT_EXISTS`, `UNSUPPORTED_FORMAT` where a weight lies in no
 * safetensors file of this folder (the hub's cache keeps links, which onnxruntime does not follow),
 * `VERIFICATION_FAILED`
 */
export async function exportInPlace(path: string, options: ExportInPlaceOptions = {}): Promise<ExportReport> {
  const { dtype = "fp32", force = false, verify = true, signal, ...rest } = options;
  if (dtype !== "fp32" && dtype !== "fp16") {
    throw new LoomweightError({
      code: "INVALID_OPTION",
      problem: "weights that stay in place are not quantized",
      option: "dtype",
      expected: "fp32 or fp16",
      found: String(dtype),
      fix: "Export to a folder of its own for quantized weights.",
    });
  }
  const folder = await openModel(path);
  try {
    const plan = await planExport(folder, { ...rest, dtypes: [dtype], packed: false }); // joined weights lie in no file
    const written: Omit<ExportedFile, "verification">[] = [];
    if (!force) for (const { file } of plan.graphs) await refuseExisting(join(path, file));
    for (const { file, graph, model } of plan.graphs) {
      const { model: skeleton, existing: places } = keepInPlace(model, folder.checkpoint);
      const existing = new Map(
        [...places].map(([name, { file: holder, offset }]) => [name, { location: relative(path, holder), offset }]),
      );
      const external = [...new Set([...existing.values()].map(({ location }) => location))].sort();
      for (const location of external) await requireBeside(path, location);
      const target = join(path, file);
      await writeOnnxFile(target, stoppable(skeleton, signal), { externalData: false, existing });
      written.push({ dtype, graph, name: file, bytes: (await stat(target)).size, external, weights: [] });
    }
    const paths = new Map(written.map(({ name }) => [name, join(path, name)]));
    const verified = verify ? await verifyFiles(paths, folder.config ?? {}, {}) : undefined;
    const skipped: Verification = { ran: false, reason: "verification is off" };
    return {
      family: plan.family,
      task: plan.task,
      target: plan.target,
      files: written.map((file) => ({ ...file, verification: verified?.get(file.name) ?? skipped })),
      companions: [],
      warnings: plan.warnings.filter(({ code }) => code !== "SLOW_ON_WASM"),
    };
  } finally {
    await folder.close();
  }
}

async function refuseExisting(target: string): Promise<void> {
  if ((await stat(target).catch(() => undefined)) === undefined) return;
  throw new LoomweightError({
    code: "OUTPUT_EXISTS",
    problem: "the output exists already",
    file: target,
    fix: "Give `force` (--force) to replace it.",
  });
}

/** onnxruntime reads external data from the model file's folder only. */
async function requireBeside(folder: string, location: string): Promise<void> {
  const plain = isPlainRelativePath(location) && basename(location) === location && location.endsWith(".safetensors");
  const found = plain ? await stat(join(folder, location)).catch(() => undefined) : undefined;
  if (found?.isFile() && dirname(await realpath(join(folder, location))) === (await realpath(folder))) return;
  throw new LoomweightError({
    code: "UNSUPPORTED_FORMAT",
    problem: "only weights in safetensors files of the folder itself can stay in place, and not behind links",
    file: location,
    fix: "Export to a folder of its own, without --in-place.",
  });
}
