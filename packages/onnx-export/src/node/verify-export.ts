import { mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openModel } from "@loomweight/checkpoint/node";
import { openOnnxFile, openSession, type Session } from "@loomweight/graph/node";
import type { Task } from "@loomweight/models";
import { LoomweightError, type Tensor, toFloat32 } from "@loomweight/tensor";
import type { ExportDType } from "../dtypes.ts";
import { nextInputs, sampleInputs, sampleTokens } from "../sample-inputs.ts";
import { checkFolder } from "../verify/check-folder.ts";
import { checkGraph } from "../verify/check-graph.ts";
import { graphAndDType } from "../verify/file-names.ts";
import { caution, type Finding, fault } from "../verify/finding.ts";
import { type OutputDifference, outputDifferences, relativeLimit } from "../verify/output-difference.ts";
import { type Perplexity, perplexity, predictsText } from "../verify/perplexity.ts";
import { exportFolder } from "./export-folder.ts";
import { matchingTask } from "./matching-task.ts";
import { openExport } from "./open-export.ts";

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
  /** Of the model file alone. */
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

type Outputs = Readonly<Record<string, Tensor>>;

/** Outputs of the first run, and of a cached step where there is a cache. */
interface Answers {
  readonly first: Outputs;
  readonly next?: Outputs;
  readonly real: (row: number, column: number) => boolean;
}

/**
 * Checks an export that anyone made: its structure (well-formed graphs, inputs, outputs and files as transformers.js
 * expects them), a run of each file on a small padded input with a cached step, the difference of every output from
 * fp32, and perplexity on a text. What is wrong is in the result; it throws only where it cannot check: `MISSING_FILE`,
 * `INVALID_JSON`, `RUNTIME_MISSING`, and what exporting `against` throws.
 */
export async function verifyExport(path: string, options: VerifyExportOptions = {}): Promise<ExportVerification> {
  const { against, signal, onProgress = () => {} } = options;
  const found = await openExport(path);
  const facts = await Promise.all(found.graphs.map((name) => inspectGraph(join(path, found.graphFolder, name), name)));
  const inputs = new Set(facts.flatMap((each) => each.inputs));
  const folder = checkFolder({ ...found, inputs });
  const total = facts.length + (against === undefined ? 0 : 1);
  let done = 0;
  const report = (label: string) => onProgress({ label, done: done++, total });

  const references = new Map<string, Answers>();
  let referencePerplexity: Perplexity | undefined;
  if (against !== undefined) {
    report("running the model");
    await withReference(against, facts, options, async (name, file) => {
      const result = await answer(file, found.config, options);
      references.set(name, result.answers);
      referencePerplexity ??= result.perplexity;
    });
  }
  const files: VerifiedFile[] = [];
  // the fp32 files first: without a model the others are compared with them
  for (const each of [...facts].sort((a, b) => Number(b.dtype === "fp32") - Number(a.dtype === "fp32"))) {
    signal?.throwIfAborted();
    report(`running ${each.name}`);
    const isReference = against === undefined && each.dtype === "fp32";
    const checked = each.broken ? {} : await check(each, found.config, references, isReference, options);
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
  const reference = against ?? (references.size > 0 ? "fp32" : undefined);
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
  /** Not well formed: it is not run. */
  readonly broken: boolean;
}

async function inspectGraph(file: string, name: string): Promise<GraphFacts> {
  const common = { file, name, ...graphAndDType(name), bytes: (await stat(file)).size };
  try {
    const { model, close } = await openOnnxFile(file);
    try {
      const findings = checkGraph(model);
      const broken = findings.some(({ code }) => code === "INVALID_GRAPH");
      const { inputs, outputs, initializers } = model.graph;
      const names = inputs.map((input) => input.name).filter((each) => !initializers.has(each));
      return { ...common, findings, inputs: names, outputs: outputs.map((output) => output.name), broken };
    } finally {
      await close();
    }
  } catch (cause) {
    if (!(cause instanceof LoomweightError)) throw cause;
    return { ...common, findings: [fault(cause.code, cause.message)], inputs: [], outputs: [], broken: true };
  }
}

/** Runs `use` for each fp32 graph of the model, in standard operators, exported for the time of the call. */
async function withReference(
  path: string,
  facts: readonly GraphFacts[],
  { task, signal }: VerifyExportOptions,
  use: (graph: string, file: string) => Promise<void>,
): Promise<void> {
  const root = await mkdtemp(join(tmpdir(), "loomweight-verify-"));
  try {
    const outputs = new Map(facts.filter(({ broken }) => !broken).map((each) => [each.graph, each.outputs]));
    const chosen = task ?? (await taskOf(path, outputs));
    const out = join(root, "model");
    const { files } = await exportFolder(path, out, {
      task: chosen,
      dtypes: ["fp32"],
      fuse: "none",
      verify: false,
      signal,
    });
    for (const { graph, name } of files) await use(graph, join(out, name));
  } finally {
    await rm(root, { recursive: true, force: true });
  }
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
  config: Readonly<Record<string, unknown>>,
  references: Map<string, Answers>,
  isReference: boolean,
  options: VerifyExportOptions,
): Promise<{ findings?: Finding[]; outputs?: OutputDifference[]; perplexity?: Perplexity }> {
  try {
    const { answers, perplexity: score } = await answer(file, config, options);
    const findings = notFinite(answers);
    if (score !== undefined && !Number.isFinite(score.value)) {
      findings.push(fault("NOT_FINITE", `${name} has no finite perplexity on the text`));
    }
    if (isReference) {
      references.set(graph, answers);
      return { findings, perplexity: score };
    }
    const reference = references.get(graph);
    if (reference === undefined) {
      findings.push(caution("NO_REFERENCE", `there is no fp32 file to compare ${name} with: name its model`));
      return { findings, perplexity: score };
    }
    const outputs = differences(answers, reference);
    for (const { name: output, relative } of outputs) {
      if (relative <= relativeLimit(dtype)) continue;
      const text = `the output ${output} differs from the reference by ${(100 * relative).toPrecision(3)} % of its size`;
      findings.push(fault("DIFFERENCE", `${text}; ${dtype} may by ${100 * relativeLimit(dtype)} %`));
    }
    return { findings, outputs, perplexity: score };
  } catch (cause) {
    if (!(cause instanceof LoomweightError) || cause.code === "RUNTIME_MISSING") throw cause;
    return { findings: [fault(cause.code, cause.message)] };
  }
}

async function answer(
  file: string,
  config: Readonly<Record<string, unknown>>,
  { text, window, signal }: VerifyExportOptions,
): Promise<{ answers: Answers; perplexity?: Perplexity }> {
  const session = await openSession(file, { threads: 1 });
  try {
    const answers = await run(session, config);
    if (text === undefined || !predictsText(session.inputs)) return { answers };
    return { answers, perplexity: await perplexity(session, text, { window, signal }) };
  } finally {
    await session.close();
  }
}

async function run(session: Session, config: Readonly<Record<string, unknown>>): Promise<Answers> {
  const { feeds, real } = sampleInputs(session.inputs, config);
  const first = await session.run(feeds);
  const cached = Object.keys(feeds).some((name) => name.startsWith("past_key_values."));
  return { first, real, ...(cached ? { next: await session.run(nextInputs(feeds, first)) } : {}) };
}

/** Of both steps, the worse one for each output. */
function differences(actual: Answers, reference: Answers): OutputDifference[] {
  const first = outputDifferences(actual.first, reference.first, sampleTokens, reference.real);
  if (actual.next === undefined || reference.next === undefined) return first;
  const next = outputDifferences(actual.next, reference.next, sampleTokens, reference.real);
  return first.map((each) => {
    const later = next.find(({ name }) => name === each.name);
    return later !== undefined && later.relative > each.relative ? later : each;
  });
}

function notFinite({ first, next = {}, real }: Answers): Finding[] {
  // rows of padding may hold anything: an output is compared with itself over what counts
  const bad = [first, next].flatMap((outputs) => {
    const floats = Object.entries(outputs).filter(([, { dtype }]) => dtype === "float32" || dtype === "float16");
    return floats
      .filter(([name, tensor]) => {
        if (toFloat32(tensor).every(Number.isFinite)) return false;
        const [self] = outputDifferences({ [name]: tensor }, { [name]: tensor }, sampleTokens, real);
        return !Number.isFinite(self.maxDifference) || !Number.isFinite(self.largest);
      })
      .map(([name]) => name);
  });
  return [...new Set(bad)].map((name) => fault("NOT_FINITE", `the output ${name} is not finite`));
}
