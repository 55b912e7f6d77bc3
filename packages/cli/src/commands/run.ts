import { mkdtemp, readdir, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseJsonObject } from "@loomweight/checkpoint";
import { openSession } from "@loomweight/graph/node";
import { checkDTypes, exportDTypes, modelFileName } from "@loomweight/onnx-export";
import { exportFolder } from "@loomweight/onnx-export/node";
import { createRandom, LoomweightError, unknownName } from "@loomweight/tensor";
import type { CommandContext } from "../context.ts";
import { continuePrompt } from "../generate/continue-prompt.ts";
import { openTokenizer } from "../generate/open-tokenizer.ts";
import { streamText } from "../generate/text-stream.ts";
import { withAdapter } from "../generate/with-adapter.ts";
import { formatDuration, plural } from "../output/format.ts";
import type { RunFlags } from "../program.ts";

/** `loomweight run MODEL_OR_EXPORT PROMPT`: lets a text model continue a prompt. */
export async function runModel(
  context: CommandContext,
  options: RunFlags,
  path: string,
  prompt: string,
): Promise<void> {
  if (await isExport(path)) return runExport(context, options, path, prompt);
  const folder = await mkdtemp(join(tmpdir(), "loomweight-run-"));
  try {
    const out = join(folder, "model");
    const dtype = options.dtype ?? "fp32";
    context.report.progress({ label: `exporting ${path} to run it once`, done: 0, total: 1 });
    await exportFolder(path, out, {
      dtypes: checkDTypes([dtype]),
      task: "text-generation",
      adapterSlots: options.adapter !== undefined,
      logitsToKeep: true, // continuePrompt feeds it
      verify: false,
      signal: context.signal,
    });
    await runExport(context, { ...options, dtype, adapterBase: options.adapterBase ?? path }, out, prompt);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** A folder with an `onnx` folder in it; a model's folder otherwise. */
async function isExport(path: string): Promise<boolean> {
  const found = await stat(path).catch(() => undefined);
  if (found === undefined) throw new LoomweightError({ code: "MISSING_FILE", file: path, problem: "no such folder" });
  if (!found.isDirectory()) {
    throw new LoomweightError({
      code: "INVALID_PATH",
      file: path,
      problem: "this is a file",
      expected: "the folder of an export or of a model",
    });
  }
  return (await stat(join(path, "onnx")).catch(() => undefined))?.isDirectory() ?? false;
}

async function runExport(
  { report, signal }: CommandContext,
  options: RunFlags,
  path: string,
  prompt: string,
): Promise<void> {
  const tokenizer = await openTokenizer(path);
  const file = join(path, "onnx", await chooseFile(path, options.dtype));
  const endTokens = await readEndTokens(path);
  const ids = tokenizer.encode(prompt);
  const opened = await openSession(file, { threads: options.threads });
  try {
    const { session, warnings } = await withAdapter(opened, path, options);
    for (const warning of warnings) report.warn(warning);
    if (!session.inputs.some(({ name }) => name === "input_ids")) {
      throw new LoomweightError({
        code: "UNSUPPORTED_MODEL",
        file,
        problem: "this graph takes no text",
        fix: "run continues a prompt with text-generation models; use transformers.js for other tasks.",
      });
    }
    const sampled =
      options.seed !== undefined ||
      options.temperature !== undefined ||
      options.topK !== undefined ||
      options.topP !== undefined;
    const random = createRandom(options.seed ?? 0, "run");
    let drawn = 0;
    const streamer = streamText(ids, tokenizer.decode);
    const made: number[] = [];
    report.stream(prompt);
    const began = performance.now();
    for await (const id of continuePrompt(session, ids, {
      maxNewTokens: options.maxNewTokens,
      endTokens,
      sampling: sampled ? { temperature: options.temperature ?? 1, topK: options.topK, topP: options.topP } : undefined,
      random: () => random.uniform(drawn++),
      signal,
    })) {
      made.push(id);
      report.stream(streamer.push(id));
    }
    report.stream(`${streamer.end()}\n`);
    const milliseconds = performance.now() - began;
    report.note(`${plural(made.length, "token")} in ${formatDuration(milliseconds)}`);
    const text = tokenizer.decode([...ids, ...made]).slice(tokenizer.decode(ids).length);
    report.data({ model: path, file, prompt, text, promptIds: ids, ids: made, milliseconds: Math.round(milliseconds) });
  } finally {
    await opened.close();
  }
}

/** The model file for a dtype; without one the most exact file that is there. */
async function chooseFile(path: string, dtype: string | undefined): Promise<string> {
  const present = await readdir(join(path, "onnx"));
  const dtypes = Object.keys(exportDTypes) as (keyof typeof exportDTypes)[];
  const available = dtypes.filter((each) => present.includes(modelFileName(each)));
  if (dtype !== undefined && !Object.hasOwn(exportDTypes, dtype)) {
    throw unknownName({
      kind: "dtype",
      name: dtype,
      known: dtypes as readonly string[],
      code: "INVALID_OPTION",
      option: "--dtype",
    });
  }
  const chosen = dtype === undefined ? available[0] : available.find((each) => each === dtype);
  if (chosen !== undefined) return modelFileName(chosen);
  throw new LoomweightError({
    code: "MISSING_FILE",
    file: join(path, "onnx"),
    problem: dtype === undefined ? "the folder holds no model file" : `there is no ${dtype} file`,
    expected: dtype === undefined ? "model.onnx" : modelFileName(dtype as keyof typeof exportDTypes),
    found: available.length === 0 ? undefined : available.join(", "),
    fix: `Export it: loomweight export MODEL OUT --dtype ${dtype ?? "fp32"}.`,
  });
}

/** `eos_token_id` of generation_config.json, else of config.json. */
async function readEndTokens(path: string): Promise<Set<number>> {
  for (const name of ["generation_config.json", "config.json"]) {
    const bytes = await readFile(join(path, name)).catch(() => undefined);
    const value = bytes === undefined ? undefined : parseJsonObject(bytes, join(path, name)).eos_token_id;
    const ids = (Array.isArray(value) ? value : [value]).filter((id): id is number => typeof id === "number");
    if (ids.length > 0) return new Set(ids);
  }
  return new Set();
}
