import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { LoomweightError } from "@loomweight/tensor";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { mergeModel } from "../src/node/index.ts";
import { writeSmallModels } from "./small-models.ts";

const folder = mkdtempSync(join(tmpdir(), "loomweight-hostile-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const tokenizer = {
  added_tokens: [{ id: 4, content: "<s>", special: true, lstrip: false, rstrip: false, normalized: false }],
  model: { type: "BPE", vocab: { a: 0, b: 1, c: 2, ab: 3 }, merges: ["a b"] },
};
const config = {
  architectures: ["LlamaForCausalLM"],
  model_type: "llama",
  num_hidden_layers: 3,
  layer_types: ["x", "y", "z"],
  vocab_size: 5,
  text_config: { num_hidden_layers: 3 },
  tie_word_embeddings: true,
};
const good: Readonly<Record<string, object>> = {
  "config.json": config,
  "tokenizer.json": tokenizer,
  "tokenizer_config.json": {
    added_tokens_decoder: { "4": { content: "<s>" } },
    chat_template: "{{ messages }} of all",
  },
  "generation_config.json": { eos_token_id: 4 },
};

beforeAll(async () => {
  await writeSmallModels(folder, 2, { vocabulary: 5 });
  for (const name of ["base", "tuned-1", "tuned-2"]) {
    for (const [file, value] of Object.entries(good)) writeFileSync(join(folder, name, file), JSON.stringify(value));
  }
});

/** Slices, another tokenizer and a template: everything that companions are read for. */
const recipe = {
  merge_method: "linear",
  slices: [
    {
      sources: [
        { model: "base", layer_range: [0, 2], parameters: { weight: 0.5 } },
        { model: "victim", layer_range: [1, 3], parameters: { weight: 0.5 } },
      ],
    },
  ],
  base_model: "base",
  tokenizer: { source: "victim", pad_to_multiple_of: 8 },
  chat_template: "auto",
};
let runs = 0;

/** Merges a model whose `file` is this text: done, or the named error that it gave. Nothing else may come of it. */
async function outcome(file: string, text: string | Buffer, victimIsBase = false): Promise<LoomweightError | "merged"> {
  const place = join(folder, `case-${runs++}`);
  for (const [from, to] of [
    ["base", "base"],
    ["tuned-1", "victim"],
  ])
    cpSync(join(folder, from), join(place, to), { recursive: true });
  writeFileSync(join(place, victimIsBase ? "base" : "victim", file), text);
  const before = readdirSync(place).sort();
  try {
    await mergeModel(recipe, join(place, "out"), { folder: place, workers: 1 });
    JSON.parse(readFileSync(join(place, "out", "config.json"), "utf8"));
    return "merged";
  } catch (error) {
    if (!(error instanceof LoomweightError)) throw error;
    expect(error.message).not.toMatch(/undefined|TypeError|\[object Object\]/);
    expect(readdirSync(place).sort()).toEqual(before);
    return error;
  } finally {
    rmSync(place, { recursive: true, force: true });
  }
}

const deep = (levels: number) => `${'{"a":'.repeat(levels)}1${"}".repeat(levels)}`;

test("the models are fit to be merged as they are", async () => {
  expect(await outcome("config.json", JSON.stringify(config))).toBe("merged");
});

describe.each(Object.keys(good))("%s", (file) => {
  test.each<[string, string]>([
    ["no JSON", "{"],
    ["a list", "[]"],
    ["text", '"hello"'],
    ["nothing", ""],
    ["zero bytes", "\0\0\0"],
    ["a name given twice", '{"vocab_size":5,"vocab_size":6}'],
    ["ten thousand levels", deep(10_000)],
    ["names of object internals", '{"__proto__":{"architectures":["X"]},"constructor":1,"toString":2}'],
    ["broken text", '{"architectures":["\\ud800"]}'],
  ])("with %s is refused by name or merged", async (_, text) => {
    const found = await outcome(file, text);
    if (found !== "merged") expect(found.message).toContain(file.replace(/_?config.json$/, ""));
  });

  test("of twenty megabytes is refused by name, or copied as it is", async () => {
    const found = await outcome(file, `{"a":"${"x".repeat(20_000_000)}"}`);
    if (found !== "merged") expect(found.message).toContain(file);
  });
});

test.each<[string, object]>([
  ["a layer count that is text", { num_hidden_layers: "many" }],
  ["a layer count that is negative", { num_hidden_layers: -3 }],
  ["architectures that are no list", { architectures: 5 }],
  ["architectures of objects", { architectures: [{}] }],
  ["lists of layers of the wrong kind", { layer_types: { length: 3 }, layer_kinds: [[], [], []] }],
  ["sections that are lists", { text_config: [3], vision_config: 7 }],
  ["a quantization that is text", { quantization_config: "fp8" }],
  ["numbers of tokens that are objects", { vocab_size: {}, bos_token_id: { a: 1 }, eos_token_id: [[]] }],
])("a configuration with %s ends in a merge or a named error", async (_, changes) => {
  const text = JSON.stringify({ ...config, ...changes });
  for (const isBase of [true, false]) await outcome("config.json", text, isBase);
});

test.each<[string, object]>([
  ["merges that are no list", { model: { ...tokenizer.model, merges: 7 } }],
  ["merges of the wrong kind", { model: { ...tokenizer.model, merges: [1, {}, ["a"], "a b c"] } }],
  ["added tokens without text", { added_tokens: [{ id: 4 }, null, "x"] }],
  ["added tokens far away", { added_tokens: [{ id: 4_000_000_000, content: "far" }] }],
  ["ids that are not whole", { model: { ...tokenizer.model, vocab: { a: 0.5, b: 1 } } }],
  ["more tokens than rows", { model: { ...tokenizer.model, vocab: { a: 0, b: 1, c: 2, ab: 3, z: 99 } } }],
  ["two tokens of one id", { model: { ...tokenizer.model, vocab: { a: 0, b: 0, c: 2, ab: 3 } } }],
  ["an unknown kind of model", { model: { type: "Mystery", vocab: [["a", 0]] } }],
  ["no vocabulary", { model: { type: "BPE" } }],
])("a tokenizer with %s ends in a merge or a named error", async (_, changes) => {
  await outcome("tokenizer.json", JSON.stringify({ ...tokenizer, ...changes }));
});

test("any JSON in place of any value ends in a merge or a named error", async () => {
  const paths = Object.entries(good).flatMap(([file, value]) => pathsOf(value).map((path) => ({ file, path })));
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...paths), fc.jsonValue({ maxDepth: 2 }), async ({ file, path }, value) => {
      await outcome(file, JSON.stringify(replaced(good[file], path, value)));
    }),
    { numRuns: 60, seed: 20_26 },
  );
}, 60_000);

/** Every value of an object, by the keys that lead to it. */
function pathsOf(value: unknown, before: readonly string[] = []): string[][] {
  const inner = typeof value === "object" && value !== null ? Object.entries(value) : [];
  return [
    ...(before.length === 0 ? [] : [[...before]]),
    ...inner.flatMap(([key, each]) => pathsOf(each, [...before, key])),
  ];
}

function replaced(value: unknown, [key, ...rest]: readonly string[], by: unknown): unknown {
  if (key === undefined) return by;
  const copy = (Array.isArray(value) ? [...value] : { ...(value as object) }) as Record<string, unknown>;
  copy[key] = replaced(copy[key], rest, by);
  return copy;
}
