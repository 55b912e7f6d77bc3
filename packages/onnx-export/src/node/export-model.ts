import { mkdir, readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import type { ModelFolder, OutputFolder } from "@loomweight/checkpoint";
import type { OnnxModel } from "@loomweight/graph";
import { writeOnnxFile } from "@loomweight/graph/node";
import type { GraphName } from "@loomweight/models";
import type { ExportDType } from "../dtypes.ts";
import { clampedWarnings } from "../float16-range.ts";
import { type ExportOptions, planExport } from "../plan.ts";
import type { ExportedFile, ExportReport, Verification } from "../report.ts";
import { isDataOf } from "../verify/file-names.ts";
import { exportedModel, joinReports, type Layout, type WeightReports } from "./shared-models.ts";
import { type ThreadOptions, threadsFor } from "./threads.ts";
import { verifyFiles } from "./verify.ts";

export interface ExportModelOptions extends ExportOptions, ThreadOptions {
  /** Load and run every model file and compare it with fp32; default true. */
  readonly verify?: boolean;
  /** Most bytes of one file of external data; default 1.9e9, what a browser can hold in one buffer, and for genai no limit. */
  readonly maxExternalBytes?: number;
  /** Weights outside the model files; default "auto": where they are more than 1.9 GB. */
  readonly externalData?: boolean | "auto";
  /** Stops the export: between two weights, or before a file is verified. */
  readonly signal?: AbortSignal;
  /** Called before each model file is written and before it is verified. */
  readonly onProgress?: (event: ExportProgress) => void;
}

export interface ExportProgress {
  readonly step: "write" | "verify";
  readonly file: string;
  /** Steps in all. */
  readonly total: number;
}

interface Written extends WeightReports {
  readonly dtype: ExportDType;
  readonly graph: GraphName;
  /** Name inside the folder of graphs. */
  readonly name: string;
  readonly bytes: number;
  readonly external: readonly string[];
}

/**
 * Writes the folder that the target's runtime loads into `output`: the model files, config.json, generation settings,
 * tokenizer and processor files, licence and README. Weights pass through memory one tensor at a time; the same model
 * gives the same bytes. `output` is not committed. Throws what `planExport` and writing throw, `VERIFICATION_FAILED`.
 * @param path where other threads open `folder` again; without it the calling thread does everything
 */
export async function exportModel(
  folder: ModelFolder,
  output: OutputFolder,
  options: ExportModelOptions = {},
  path?: string,
): Promise<ExportReport> {
  const { verify = true, externalData = "auto", signal, onProgress = () => {}, workers, ...settings } = options;
  const plan = await planExport(folder, options);
  const genai = plan.target === "genai";
  const layout: Layout = {
    externalData,
    // no browser reads a folder of genai: one file of external data, named as its own builder does
    maxExternalBytes: options.maxExternalBytes ?? (genai ? undefined : 1.9e9),
    externalSuffix: genai ? ".data" : undefined,
  };
  const models = plan.graphs.map(({ model }) => model);
  const task = path === undefined ? undefined : ({ kind: "export", path, options: settings, layout } as const);
  const pool = threadsFor(models, task, { workers });
  const graphs = join(output.path, plan.graphFolder);
  await mkdir(graphs, { recursive: true });
  const written: Written[] = [];
  const total = plan.graphs.length * (verify ? 2 : 1);
  try {
    for (const each of plan.graphs) {
      const { dtype, graph, file: name } = each;
      onProgress({ step: "write", file: name, total });
      const { model, options: placing, drain } = exportedModel(each, layout);
      let reports: readonly unknown[] = [];
      await writeOnnxFile(join(graphs, name), stoppable(model, signal), {
        ...placing,
        pool: pool && { pool, key: name },
        drain,
        collect: (all) => {
          reports = all;
        },
        signal,
      });
      written.push({ dtype, graph, name, ...joinReports(reports), ...(await filesOf(graphs, name)) });
    }
  } finally {
    await pool?.close();
  }
  const external = written.filter((each) => each.external.length > 0);
  const counts = new Map(external.map((each) => [each.name, each.external.length]));
  await output.writeFile("config.json", plan.config(counts));
  for (const [name, file] of plan.companions) {
    if ("text" in file) await output.writeFile(name, file.text);
    else await output.copyFile(name, file.source);
  }
  const verified = verify ? await verifyAll(graphs, written, folder.config ?? {}, options) : undefined;
  const skipped: Verification = { ran: false, reason: "verification is off" };
  const files = written.map(
    ({ dtype, graph, name, bytes, external: names, weights }): ExportedFile => ({
      dtype,
      graph,
      name: plan.graphFolder === "" ? name : `${plan.graphFolder}/${name}`,
      bytes,
      external: names,
      verification: verified?.get(name) ?? skipped,
      weights,
    }),
  );
  return {
    target: plan.target,
    family: plan.family,
    task: plan.task,
    files,
    companions: ["config.json", ...plan.companions.keys()].sort(),
    warnings: [...plan.warnings, ...written.flatMap(({ name, clamped }) => clampedWarnings(name, new Map(clamped)))],
  };
}

/** The external data files of a model file, and the size of all of them together. */
export async function filesOf(folder: string, name: string): Promise<{ bytes: number; external: string[] }> {
  const external = (await readdir(folder)).filter((each) => isDataOf(name, each)).sort();
  const sizes = await Promise.all([name, ...external].map(async (each) => (await stat(join(folder, each))).size));
  return { bytes: sizes.reduce((sum, size) => sum + size, 0), external };
}

async function verifyAll(
  path: string,
  written: readonly Written[],
  config: Readonly<Record<string, unknown>>,
  { signal, onProgress = () => {} }: ExportModelOptions,
): Promise<Map<string, Verification>> {
  const results = new Map<string, Verification>();
  const total = 2 * written.length;
  for (const graph of new Set(written.map((each) => each.graph))) {
    const files = written.filter((each) => each.graph === graph);
    const verified = await verifyFiles(new Map(files.map(({ name }) => [name, join(path, name)])), config, {
      reference: files.find(({ dtype }) => dtype === "fp32")?.name,
      before(file) {
        signal?.throwIfAborted();
        onProgress({ step: "verify", file, total });
      },
    });
    for (const [name, result] of verified) results.set(name, result);
  }
  return results;
}

/** The model, each of whose weights is read only while `signal` has not been raised. */
export function stoppable(model: OnnxModel, signal: AbortSignal | undefined): OnnxModel {
  const initializers = new Map(
    [...model.graph.initializers].map(([name, initializer]) => {
      const { data } = initializer;
      const checked =
        <T>(start: () => T) =>
        () => {
          signal?.throwIfAborted();
          return start();
        };
      const stream = data.stream && { stream: checked(data.stream) };
      return [name, { ...initializer, data: { ...data, read: checked(data.read), ...stream } }];
    }),
  );
  return { ...model, graph: { ...model.graph, initializers } };
}
