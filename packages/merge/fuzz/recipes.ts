/**
 * Changes valid recipes at random, a million times by default, and reads, plans and searches what comes out: only
 * LoomweightErrors may be thrown, in bounded time. Prints the seed of the first failure and ends with 1.
 *
 *   pnpm --filter @loomweight/merge fuzz [count] [seed]
 */
import { readFileSync } from "node:fs";
import type { TensorInfo } from "@loomweight/checkpoint";
import { LoomweightError } from "@loomweight/tensor";
import { mergeMethods } from "../src/method-list.ts";
import type { ModelAdapter } from "../src/model-adapter.ts";
import { adaptersOfDocuments, modelsOfDocuments, planDocuments } from "../src/plan/plan-documents.ts";
import type { PlanModel } from "../src/plan/plan-merge.ts";
import { parseRecipeDocuments } from "../src/recipe/documents.ts";
import { readSearchSpace } from "../src/search/search-space.ts";

/** Most time of the processor that one recipe may take: a hundred times what the slowest takes. */
const maxMilliseconds = 2000;

/** A small generator (mulberry32): the same numbers for the same seed. */
function randomNumbers(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

/** Valid recipes of every kind, divided by lines of equals signs. */
const seeds = readFileSync(new URL("recipes.txt", import.meta.url), "utf8").split(/^=+\n/m);

const pieces = [
  ..."{}[]:,-?!&*|>%@`'\"#~ \t\n\r\0\\".split(""),
  ...["---\n", "...\n", "<<: ", "&a ", "*a", "!!js/function ", "!!binary ", "? ", "- ", "null", "true", ".nan", ".inf"],
  ...["-1", "0", "1e999", "0x10", "1_000", "[[", "{{", "[1, 0]", "{ search: [0, 1] }", "é", "\u2028", "\ufeff", "😀"],
  ...["__proto__: 1\n", "constructor", "../", "/", "model: a\n", "weight: ", "filter: ", "value: ", "name: ", "  "],
  ...[
    "a+b",
    "a@main",
    "layer_range: [0, 99999999]",
    "layer_range: [1, 0]",
    "tokens: {",
    "union",
    "pad_to_multiple_of: 0",
  ],
];

const words = [
  ...new Set(seeds.flatMap((text) => text.match(/[\w.+-]+/g) ?? [])),
  ...[
    "",
    "-1",
    "2",
    "1e999",
    ".nan",
    ".inf",
    "true",
    "null",
    "~",
    "[]",
    "{}",
    "[1, 0.5]",
    "{ search: [0, 1] }",
    "text",
  ],
  ...["{ filter: mlp, value: 1 }", "__proto__", "constructor", "../x", "/x", "a+b+c", "a@main", "99999999999999999999"],
];

/**
 * Half of the time words are exchanged, so that the text mostly stays YAML and the fault lies in its meaning; else
 * there are one to three edits of characters.
 */
function mutate(text: string, random: (below: number) => number): string {
  let changed = text;
  const meaning = random(2) === 0;
  for (let edits = 1 + random(3); edits > 0; edits--) {
    changed = meaning ? exchangeWord(changed, random) : editCharacters(changed, random);
  }
  return changed;
}

function exchangeWord(text: string, random: (below: number) => number): string {
  const places = [...text.matchAll(/[\w.+-]+/g)];
  if (places.length === 0 || random(6) === 0) return swapLines(text, random);
  const { index, 0: word } = places[random(places.length)];
  return text.slice(0, index) + words[random(words.length)] + text.slice(index + word.length);
}

/** A character changed, text taken out, put in, repeated, lines swapped, or a piece of another recipe put in. */
function editCharacters(text: string, random: (below: number) => number): string {
  const at = random(text.length + 1);
  const [before, after] = [text.slice(0, at), text.slice(at)];
  const kind = random(16);
  if (kind < 3) return before + String.fromCharCode(32 + random(95)) + after.slice(1);
  if (kind < 6) return before + after.slice(1 + random(30));
  if (kind < 9) return before + pieces[random(pieces.length)] + after.slice(random(2));
  if (kind < 11) return before + after.slice(0, random(120)) + after;
  if (kind < 13) return swapLines(text, random);
  if (kind < 15) {
    const other = seeds[random(seeds.length)];
    const from = random(other.length);
    return before + other.slice(from, from + random(80)) + after;
  }
  return before + pieces[random(pieces.length)].repeat(1 + random(200)) + after;
}

function swapLines(text: string, random: (below: number) => number): string {
  const lines = text.split("\n");
  const [a, b] = [random(lines.length), random(lines.length)];
  [lines[a], lines[b]] = [lines[b], lines[a]];
  return lines.join("\n");
}

/** A model of two layers that every reference leads to; every second recipe finds a vision tower in it, too. */
function smallModel(parts: readonly string[]): PlanModel {
  const names = ["model.embed_tokens.weight", "model.layers.0.mlp.up_proj.weight", "model.layers.1.mlp.up_proj.weight"];
  const tensors = new Map(
    [...names, ...parts, "model.norm.weight"].map((name): [string, TensorInfo] => [
      name,
      { name, dtype: "bfloat16", shape: [8, 4], byteLength: 64, file: "model.safetensors", byteOffset: 0 },
    ]),
  );
  const config = {
    architectures: ["LlamaForCausalLM"],
    num_hidden_layers: 2,
    vocab_size: 8,
    tie_word_embeddings: true,
    vision_config: { num_hidden_layers: 1 },
  };
  return { location: "model", checkpoint: { tensors }, config };
}

function attempt(work: () => void): string {
  try {
    work();
    return "read";
  } catch (error) {
    if (!(error instanceof LoomweightError)) throw error;
    return error.code;
  }
}

/** Time of the processor, not of the clock: a busy machine is no slow reader. */
function processorMilliseconds(work: () => void): number {
  const before = process.cpuUsage();
  work();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000;
}

/** An adapter that fits every model and changes no header. */
const unchanged: Pick<ModelAdapter, "plan"> = {
  plan: ({ checkpoint: { tensors }, config }) => ({ tensors, config, warnings: [] }),
};

/** Reads, plans and (one in eight) searches a recipe. Gives the code of its error, or "read". */
function readRecipe(text: string, model: PlanModel, seed: number): string {
  if (seed % 8 === 0) attempt(() => readSearchSpace(text, "fuzz.yml"));
  return attempt(() => {
    const documents = parseRecipeDocuments(text, { methods: mergeMethods, file: "fuzz.yml" });
    const models = new Map(modelsOfDocuments(documents).map(({ key }) => [key, model]));
    const adapters = new Map(adaptersOfDocuments(documents).map(({ adapter = "" }) => [adapter, unchanged]));
    planDocuments(documents, models, { adapters });
  });
}

function fuzz(count: number, firstSeed: number): void {
  const codes = new Map<string, number>();
  const start = performance.now();
  const models = [smallModel([]), smallModel(["vision_tower.layers.0.fc1.weight", "multi_modal_projector.weight"])];
  const stackFrames = Error.stackTraceLimit;
  Error.stackTraceLimit = 0; // most of the time would go into stacks that nobody reads
  let slowest = { milliseconds: 0, seed: firstSeed };
  for (let i = 0; i < count; i++) {
    const seed = firstSeed + i;
    const random = randomNumbers(seed);
    const model = models[seed % 2];
    const text = mutate(seeds[random(seeds.length)], random);
    const began = performance.now();
    try {
      const code = readRecipe(text, model, seed);
      codes.set(code, (codes.get(code) ?? 0) + 1);
    } catch {
      Error.stackTraceLimit = stackFrames;
      console.error(`seed ${seed}: not a LoomweightError\n${JSON.stringify(text)}`);
      readRecipe(text, model, seed);
    }
    // Asking for the processor's time is slow: only what took long by the clock is measured so, once more.
    if (performance.now() - began > slowest.milliseconds) {
      const milliseconds = processorMilliseconds(() => readRecipe(text, model, seed));
      if (milliseconds > slowest.milliseconds) slowest = { milliseconds, seed };
      if (milliseconds > maxMilliseconds)
        throw new Error(`seed ${seed} took ${milliseconds} ms\n${JSON.stringify(text)}`);
    }
    if (i % 100_000 === 99_999) console.error(`${i + 1} …`);
  }
  const seconds = (performance.now() - start) / 1000;
  console.log(
    `${count} recipes in ${seconds.toFixed(1)} s, the slowest (seed ${slowest.seed}) in ${slowest.milliseconds.toFixed(1)} ms`,
  );
  for (const [code, times] of [...codes].sort(([, a], [, b]) => b - a))
    console.log(`${String(times).padStart(9)}  ${code}`);
}

fuzz(Number(process.argv[2] ?? 1_000_000), Number(process.argv[3] ?? 1));
