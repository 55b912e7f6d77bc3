import { mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openModel } from "@loomweight/checkpoint/node";
import { externalFiles, openOnnxFile } from "@loomweight/graph/node";
import type { Task } from "@loomweight/models";
import { LoomweightError } from "@loomweight/tensor";
import { type ExportDType, exportDTypes } from "../dtypes.ts";
import { checkFolder } from "../verify/check-folder.ts";
import { checkGenaiGraph } from "../verify/check-genai.ts";
import { checkGraph } from "../verify/check-graph.ts";
import { graphAndDType } from "../verify/file-names.ts";
import { caution, type Finding, fault } from "../verify/finding.ts";
import { type OutputDifference, relativeLimit } from "../verify/output-difference.ts";
import type { Perplexity } from "../verify/perplexity.ts";
import { weightsDType } from "../verify/weights-dtype.ts";
import { exportFolder } from "./export-folder.ts";
import { matchingTask } from "./matching-task.ts";
import { type ExportFiles, openExport } from "./open-export.ts";
import { quantizeFile } from "./quantize-file.ts";
import { type Answers, answer, differences, notFinite, type Surroundings } from "./run-sample.ts";

export interface VerifyExportOptions {
  /** A model's folder: the export is compared with its fp32 graphs in standard operators. Default: with the export's own fp32 files. */
  readonly against?: string;
  /** Task of `against`; default: the one whose graphs have the export's outputs. */
  readonly task?: Task;
  /** A text as token ids: decoders are scored by their perplexity on it. */
  readonly text?: readonly number[];
  /** Tokens of one window of the text; default 512. */
  readonly window?: number;
  readonly signal?: AbortSignal;
  readonly onProgress?: (step: { readonly label: string; readonly done: number; readonly total: number }) => void;
}

export interface VerifiedFile {
  /** Relative to the folder. */
  readonly name: string;
  readonly graph: string;
  readonly dtype: ExportDType;
  /** Of the model file and its external data. */
  readonly bytes: number;
  readonly findings: readonly Finding[];
  /** Against the reference; empty where there is none, or where this is it. */
  readonly outputs: readonly OutputDifference[];
  readonly perplexity?: Perplexity;
}

/** What is known about an export after all checks. Plain data. */
export interface ExportVerification {
  readonly path: string;
  /** Whether there is no finding of level "error". */
  readonly good: boolean;
  /** What files were compared with: the model's folder, or "fp32" for the export's own; undefined without either. */
  readonly reference?: string;
  /** Perplexity of the reference model. */
  readonly referencePerplexity?: Perplexity;
  /** About the folder as a whole. */
  readonly findings: readonly Finding[];
  readonly files: readonly VerifiedFile[];
}

/** What files are compared with, and where the files for it lie while it is done. */
interface References {
  readonly scratch: string;
  /** By graph: its fp32 file and what that answers. */
  readonly float: Map<string, { readonly file: string; readonly answers: Answers }>;
  /** The same model in other kinds of weights, by `graph dtype`, where it was exported. */
  readonly rounded: Map<string, string>;
  /** Relative differences that rounding costs, by output, of each `graph dtype` that was measured. */
  readonly noise: Map<string, ReadonlyMap<string, number> | undefined>;
}

interface Around extends Surroundings {
  readonly options: VerifyExportOptions;
}

/**
 * Checks an export that anyone made: its structure (well-formed graphs, inputs, outputs and files as transformers.js
 * expects them), a run of each file on a small padded input with a cached step, the difference of every output from
 * fp32, and perplexity on a text. What is wrong is in the result; it throws only where it cannot check: `MISSING_FILE`,
 * `INVALID_JSON`, `RUNTIME_MISSING`, and what exporting `against` throws.
 */
export async function verifyExport(path: string, options: VerifyExportOptions = {}): Promise<ExportVerification> {
  const scratch = await mkdtemp(join(tmpdir(), "loomweight-verify-"));
  try {
    return await verifyIn(scratch, path, options);
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

async function verifyIn(scratch: string, path: string, options: VerifyExportOptions): Promise<ExportVerification> {
  const { against, signal, onProgress = () => {} } = options;
  const found = await openExport(path);
  const facts = await Promise.all(found.graphs.map((name) => inspectGraph(found, name)));
  const inputs = new Set(facts.flatMap((each) => each.inputs));
  const folder = checkFolder({ ...found, inputs });
  const total = facts.length + (against === undefined ? 0 : 1);
  let done = 0;
  const report = (label: string) => onProgress({ label, done: done++, total });

  const single = found.genai !== undefined || facts.some(({ oneRow }) => oneRow);
  const around = { config: found.config, rows: single ? 1 : 2, options };
  const references: References = { scratch, float: new Map(), rounded: new Map(), noise: new Map() };
  let referencePerplexity: Perplexity | undefined;
  if (against !== undefined) {
    report("running the model");
    referencePerplexity = await exportReference(against, facts, references, around);
  }
  const files: VerifiedFile[] = [];
  // the fp32 files first: without a model the others are compared with them
  for (const each of [...facts].sort((a, b) => Number(b.dtype === "fp32") - Number(a.dtype === "fp32"))) {
    signal?.throwIfAborted();
    report(`running ${each.name}`);
    const checked = each.broken ? {} : await check(each, references, around);
    files.push({
      name: found.graphFolder === "" ? each.name : `${found.graphFolder}/${each.name}`,
      graph: each.graph,
      dtype: each.dtype,
      bytes: each.bytes,
      findings: [...each.findings, ...(checked.findings ?? [])],
      outputs: checked.outputs ?? [],
      ...(checked.perplexity === undefined ? {} : { perplexity: checked.perplexity }),
    });
  }
  files.sort((a, b) => (a.name < b.name ? -1 : 1));
  const reference = against ?? (references.float.size > 0 ? "fp32" : undefined);
  const all = [...folder, ...files.flatMap((each) => each.findings)];
  return {
    path,
    good: !all.some(({ level }) => level === "error"),
    ...(reference === undefined ? {} : { reference }),
    ...(referencePerplexity === undefined ? {} : { referencePerplexity }),
    findings: folder,
    files,
  };
}

interface GraphFacts {
  readonly file: string;
  readonly name: string;
  readonly graph: string;
  readonly dtype: ExportDType;
  readonly bytes: number;
  readonly findings: readonly Finding[];
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  /** It takes a single row. */
  readonly oneRow: boolean;
  /** Embedding tables are coded in blocks. */
  readonly codedTables: boolean;
  /** Not well formed: it is not run. */
  readonly broken: boolean;
}

async function inspectGraph({ path, graphFolder, genai }: ExportFiles, name: string): Promise<GraphFacts> {
  const file = join(path, graphFolder, name);
  const named = graphAndDType(name);
  const common = { file, name, ...named, bytes: (await stat(file)).size, oneRow: false, codedTables: false };
  try {
    const { model, close } = await openOnnxFile(file);
    try {
      // before the runtime opens them: it would follow a link to anywhere
      const outside = await externalFiles(file, model);
      const bytes = outside.reduce((sum, each) => sum + each.byteLength, common.bytes);
      const dtype = weightsDType(model, named.dtype);
      const findings = checkGraph(model, { genai: genai !== undefined });
      if (genai !== undefined) findings.push(...checkGenaiGraph(model, genai));
      const broken = findings.some(({ code }) => code === "INVALID_GRAPH");
      const { inputs, outputs, initializers, nodes } = model.graph;
      const names = inputs.map((input) => input.name).filter((each) => !initializers.has(each));
      return {
        ...common,
        bytes,
        dtype,
        findings,
        inputs: names,
        outputs: outputs.map((output) => output.name),
        oneRow: inputs.some((input) => input.name === "input_ids" && input.shape?.[0] === 1),
        codedTables: nodes.some(({ op }) => op === "GatherBlockQuantized"),
        broken,
      };
    } finally {
      await close();
    }
  } catch (cause) {
    if (!(cause instanceof LoomweightError)) throw cause;
    return { ...common, findings: [fault(cause.code, cause.message)], inputs: [], outputs: [], broken: true };
  }
}

/**
 * Exports the model in standard operators: in fp32, and in the other kinds of weights that the export has. Returns its
 * perplexity.
 */
async function exportReference(
  path: string,
  facts: readonly GraphFacts[],
  { scratch, float, rounded }: References,
  around: Around,
): Promise<Perplexity | undefined> {
  const { task, signal } = around.options;
  const outputs = new Map(facts.filter(({ broken }) => !broken).map((each) => [each.graph, each.outputs]));
  const out = join(scratch, "model");
  const { files } = await exportFolder(path, out, {
    task: task ?? (await taskOf(path, outputs)),
    dtypes: ["fp32", ...facts.map(({ dtype }) => dtype).filter(isRounded)],
    fuse: "none",
    quantize: { embeddings: facts.some(({ codedTables }) => codedTables) },
    verify: false,
    signal,
  });
  let score: Perplexity | undefined;
  for (const { graph, dtype, name } of files) {
    if (dtype !== "fp32") {
      rounded.set(`${graph} ${dtype}`, join(out, name));
      continue;
    }
    const result = await answer(join(out, name), around);
    float.set(graph, { file: join(out, name), answers: result.answers });
    score ??= result.perplexity;
  }
  return score;
}

/** Whether a kind of weights is a rounding whose cost depends on the model. */
function isRounded(dtype: ExportDType): boolean {
  return dtype !== "fp32" && dtype !== "fp16";
}

/** What rounding the reference to a kind of weights costs each output; undefined where it cannot be told. */
async function roundingNoise(
  graph: string,
  dtype: ExportDType,
  references: References,
  around: Surroundings,
): Promise<ReadonlyMap<string, number> | undefined> {
  const key = `${graph} ${dtype}`;
  const { scratch, float, rounded, noise } = references;
  const reference = float.get(graph);
  if (!isRounded(dtype) || reference === undefined) return undefined;
  if (!noise.has(key)) {
    try {
      let file = rounded.get(key);
      if (file === undefined) {
        file = join(scratch, `${graph}-${dtype}.onnx`);
        // half precision adds nothing to what four bits cost
        const kind = exportDTypes[dtype].graph === "float16" ? "q4" : dtype;
        await quantizeFile(reference.file, file, kind, { signal: around.options.signal, force: true });
      }
      const { answers } = await answer(file, { ...around, options: {} });
      noise.set(key, new Map(differences(answers, reference.answers).map(({ name, relative }) => [name, relative])));
    } catch (cause) {
      if (!(cause instanceof LoomweightError) || cause.code === "RUNTIME_MISSING") throw cause;
      noise.set(key, undefined);
    }
  }
  return noise.get(key);
}

async function taskOf(path: string, outputs: ReadonlyMap<string, readonly string[]>): Promise<Task> {
  const folder = await openModel(path);
  try {
    return await matchingTask(folder, outputs);
  } finally {
    await folder.close();
  }
}

async function check(
  { file, graph, dtype, name }: GraphFacts,
  references: References,
  around: Around,
): Promise<{ findings?: Finding[]; outputs?: OutputDifference[]; perplexity?: Perplexity }> {
  try {
    const { answers, perplexity: score } = await answer(file, around);
    const findings = notFinite(answers);
    if (score !== undefined && !Number.isFinite(score.value)) {
      findings.push(fault("NOT_FINITE", `${name} has no finite perplexity on the text`));
    }
    if (around.options.against === undefined && dtype === "fp32" && !references.float.has(graph)) {
      references.float.set(graph, { file, answers });
      return { findings, perplexity: score };
    }
    const reference = references.float.get(graph)?.answers;
    if (reference === undefined) {
      findings.push(caution("NO_REFERENCE", `there is no fp32 file to compare ${name} with: name its model`));
      return { findings, perplexity: score };
    }
    const noise = await roundingNoise(graph, dtype, references, around);
    const outputs = differences(answers, reference).map((each) => ({
      ...each,
      limit: relativeLimit(dtype, noise?.get(each.name)),
    }));
    for (const { name: output, relative, limit } of outputs) {
      if (relative <= limit) continue;
      const text = `the output ${output} differs from the reference by ${percent(relative)} of its size`;
      const costs = noise?.get(output);
      const why = costs === undefined ? "" : `: rounding this model to ${dtype} costs ${percent(costs)}`;
      findings.push(fault("DIFFERENCE", `${text}; ${dtype} may by ${percent(limit)}${why}`));
    }
    return { findings, outputs, perplexity: score };
  } catch (cause) {
    if (!(cause instanceof LoomweightError) || cause.code === "RUNTIME_MISSING") throw cause;
    return { findings: [fault(cause.code, cause.message)] };
  }
}

const percent = (share: number) => `${Number((100 * share).toPrecision(3))} %`;
