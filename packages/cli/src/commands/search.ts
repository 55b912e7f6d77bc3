import { readFile, rename, stat, writeFile } from "node:fs/promises";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { parseJsonObject } from "@loomweight/checkpoint";
import { recipeYaml, type ScoredCandidate } from "@loomweight/merge";
import { type MergedCandidate, mergeModel, searchModels } from "@loomweight/merge/node";
import { LoomweightError } from "@loomweight/tensor/errors";
import type { CommandContext } from "../context.ts";
import { formatBytes, formatDuration, plural } from "../output/format.ts";
import { type SearchFlags, toolVersion } from "../program.ts";

/** Scores a candidate: lower is better. What a script exports as `score`. */
type Score = (candidate: MergedCandidate) => number | Promise<number>;

/** `loomweight search RECIPE OUT --score SCRIPT`: finds the numbers of a recipe that a score likes best, and merges. */
export async function search(
  { report, signal }: CommandContext,
  options: SearchFlags,
  recipe: string,
  out: string,
): Promise<void> {
  const began = performance.now();
  if (!options.force && (await exists(out))) throw outputExists(out);
  const score = await loadScore(options.score);
  const stateFile = options.state ?? `${out}.search.json`;
  const state = (await exists(stateFile)) ? await readState(stateFile) : undefined;
  if (state !== undefined) report.note(`continuing from ${stateFile}`);
  const { allowNonFinite, mergeSeed, generations, population, seed } = options;
  let best = bestBefore(state);
  let scored = 0;
  const onCandidate = ({ score: found, generation, index, values }: ScoredCandidate) => {
    scored++;
    if (index === 0) report.progress({ label: "searching", done: Math.max(0, generation - 1), total: generations });
    if (!(found < best)) return;
    best = found;
    const place = generation === 0 ? "start" : `generation ${generation}, candidate ${index + 1}`;
    report.note(`${place}: ${formatScore(found)} with ${formatValues(values)}`);
  };
  const found = await searchModels(recipe, score, {
    generations,
    population,
    seed,
    state,
    signal,
    onCandidate,
    onState: (next) => writeState(stateFile, next),
    merge: { allowNonFinite, seed: mergeSeed },
  }).catch((error: unknown) => {
    if (signal.aborted && scored > 0) report.note(`kept ${stateFile}: the same command continues the search`);
    throw error;
  });
  const merged = await mergeModel(found.recipe, out, {
    recipeFile: recipe,
    force: options.force,
    seed: mergeSeed,
    allowNonFinite,
    tool: `Loomweight ${toolVersion()}`,
    signal,
  });
  const milliseconds = performance.now() - began;
  for (const warning of merged.warnings) report.warn(warning);
  report.note(
    `${out}: ${plural(merged.tensors, "tensor")}, ${formatBytes(merged.bytes)}; score ${formatScore(found.score)}, at the start ${formatScore(found.startScore)}, after ${plural(found.generations, "generation")} in ${formatDuration(milliseconds)}`,
  );
  report.result(recipeYaml(found.recipe).trimEnd());
  const { values, startScore } = found;
  report.data({
    ...merged,
    score: found.score,
    startScore: Number.isFinite(startScore) ? startScore : null,
    values,
    recipe: found.recipe,
    generations: found.generations,
    stateFile,
    milliseconds: Math.round(milliseconds),
  });
}

async function loadScore(path: string): Promise<Score> {
  if (!(await exists(path))) {
    throw new LoomweightError({ code: "SCRIPT_NOT_FOUND", file: path, problem: "there is no such script" });
  }
  let exported: unknown;
  try {
    exported = ((await import(pathToFileURL(resolve(path)).href)) as { readonly score?: unknown }).score;
  } catch (cause) {
    const problem = `the script cannot be loaded: ${cause instanceof Error ? cause.message : String(cause)}`;
    throw new LoomweightError({ code: "SCRIPT_NOT_LOADED", file: path, problem, cause });
  }
  if (typeof exported === "function") return exported as Score;
  throw new LoomweightError({
    code: "SCRIPT_NOT_LOADED",
    file: path,
    problem: "the script exports no score",
    expected: "export async function score(candidate): a number, lower is better",
    found: typeof exported,
  });
}

/** A state of the longest search and largest population is smaller. */
const maxStateBytes = 20_000_000;

async function readState(path: string): Promise<unknown> {
  const { size } = await stat(path);
  if (size <= maxStateBytes) return parseJsonObject(await readFile(path), path);
  throw new LoomweightError({
    code: "INVALID_STATE",
    file: path,
    problem: "this is too large for the state of a search",
    expected: `at most ${maxStateBytes} bytes`,
    found: String(size),
  });
}

/** The best score that a state knows of; anything else about it is checked by the search. */
function bestBefore(state: unknown): number {
  const { best } = (state ?? {}) as { readonly best?: { readonly score?: unknown } | null };
  return typeof best?.score === "number" ? best.score : Number.POSITIVE_INFINITY;
}

/** Renamed into place: a kill leaves the state before or the state after. */
async function writeState(path: string, state: object): Promise<void> {
  const part = `${path}.part`;
  await writeFile(part, `${JSON.stringify(state)}\n`);
  await rename(part, path);
}

async function exists(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined)) !== undefined;
}

function outputExists(path: string): LoomweightError {
  return new LoomweightError({
    code: "OUTPUT_EXISTS",
    file: path,
    problem: "the output exists already",
    fix: "Name another folder, or replace it with --force.",
  });
}

const formatScore = (score: number) => String(Number(score.toPrecision(6)));

function formatValues(values: Readonly<Record<string, number>>): string {
  return Object.entries(values)
    .map(([name, value]) => `${name} ${Number(value.toPrecision(4))}`)
    .join(", ");
}
