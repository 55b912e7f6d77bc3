import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { saveSafetensors } from "@loomweight/checkpoint/node";
import { readFixtureTensors } from "@loomweight/fixtures";
import { cast, fromData, LoomweightError, type Tensor } from "@loomweight/tensor";
import { afterAll, beforeAll, expect, test } from "vitest";
import { mergeModel, planModel } from "../src/node/index.ts";
import { writeSmallModels } from "./small-models.ts";
import { numbersOf } from "./support.ts";

const folder = mkdtempSync(join(tmpdir(), "loomweight-documents-"));
beforeAll(() => writeSmallModels(folder, 3));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const model = (path: string, parameters?: object) => ({ model: path, ...(parameters && { parameters }) });
const stages = [
  {
    name: "first",
    merge_method: "linear",
    models: [model("tuned-1", { weight: 0.7 }), model("tuned-2", { weight: [0.1, 0.6] })],
  },
  {
    name: "second",
    merge_method: "dare_ties",
    base_model: "base",
    models: [model("first", { weight: 0.5, density: 0.6 }), model("tuned-3", { weight: 0.4, density: 0.5 })],
    dtype: "float16",
  },
  {
    merge_method: "ties",
    base_model: "base",
    models: [model("first", { weight: 0.5, density: 0.4 }), model("second", { weight: 0.6, density: 0.7 })],
  },
];
let runs = 0;

/** The weights of a merge, as bytes. */
async function weights(recipe: object, options: object = {}): Promise<Buffer> {
  const out = join(folder, `out-${runs++}`);
  await mergeModel(recipe, out, { folder, workers: 1, ...options });
  return readFileSync(join(out, "model.safetensors"));
}

test("documents run as one give the bytes of merging them one after the other", async () => {
  const together = await weights(stages);
  const [first, second, last] = stages;
  await mergeModel({ ...first, name: undefined }, join(folder, "first"), { folder });
  await mergeModel({ ...second, name: undefined }, join(folder, "second"), { folder });
  expect(together.equals(await weights(last))).toBe(true);
  // A document with a name gives the same as a target.
  expect(
    (await weights(stages, { target: "second" })).equals(readFileSync(join(folder, "second", "model.safetensors"))),
  ).toBe(true);
  rmSync(join(folder, "first"), { recursive: true });
  rmSync(join(folder, "second"), { recursive: true });
}, 60_000);

test("documents give the same bytes in workers, and nothing of them is written", async () => {
  expect((await weights(stages)).equals(await weights(stages, { workers: 2 }))).toBe(true);
  expect(readdirSync(folder).filter((name) => /first|second/.test(name))).toEqual([]);
}, 60_000);

/** A LoRA of rank 1 for one projection, and a norm that it trained as a whole. */
async function writeAdapter(name: string): Promise<void> {
  const path = join(folder, name);
  mkdirSync(path, { recursive: true });
  const column = (size: number, scale: number) =>
    Float32Array.from({ length: size }, (_, i) => scale * Math.sin(i + 1));
  const key = "base_model.model.model.layers.1.mlp.up_proj";
  await saveSafetensors(
    join(path, "adapter_model.safetensors"),
    new Map<string, Tensor>([
      [`${key}.lora_A.weight`, fromData("float32", column(24, 0.3), [1, 24])],
      [`${key}.lora_B.weight`, fromData("float32", column(48, 0.2), [48, 1])],
      ["base_model.model.model.norm.weight", fromData("float32", column(24, 2), [24])],
    ]),
    { force: true },
  );
  writeFileSync(
    join(path, "adapter_config.json"),
    JSON.stringify({ peft_type: "LORA", r: 1, lora_alpha: 3, target_modules: ["up_proj"], modules_to_save: ["norm"] }),
  );
}

test("an adapter folded into a document gives the bytes of folding it into the document's folder", async () => {
  await writeAdapter("adapter");
  const last = {
    merge_method: "ties",
    base_model: "base",
    models: [
      model("first+adapter", { weight: 0.5, density: 0.4 }),
      model("first", { weight: 0.2, density: 0.4 }),
      model("second+adapter", { weight: 0.6, density: 0.7 }),
    ],
  };
  const together = await weights([...stages.slice(0, 2), last]);
  const inWorkers = await weights([...stages.slice(0, 2), last], { workers: 2 });
  expect(inWorkers.equals(together)).toBe(true);
  const [first, second] = stages;
  await mergeModel({ ...first, name: undefined }, join(folder, "first"), { folder });
  await mergeModel({ ...second, name: undefined }, join(folder, "second"), { folder });
  try {
    expect(together.equals(await weights(last))).toBe(true);
    const without = {
      ...last,
      models: [model("first"), ...last.models.slice(1)].map((each) => ({ ...last.models[0], ...each })),
    };
    expect(together.equals(await weights(without))).toBe(false);
  } finally {
    rmSync(join(folder, "first"), { recursive: true });
    rmSync(join(folder, "second"), { recursive: true });
  }
}, 60_000);

test("a document's adapter by hand: W + alpha / rank · B A over the document's own values", async () => {
  await writeAdapter("adapter");
  const recipe = [
    {
      name: "halves",
      merge_method: "linear",
      models: [model("tuned-1", { weight: 1 }), model("tuned-2", { weight: 1 })],
    },
    { merge_method: "passthrough", models: [model("halves+adapter")], dtype: "float32" },
  ];
  const out = join(folder, "by-hand");
  await mergeModel(recipe, out, { folder });
  await mergeModel({ ...recipe[0], name: undefined }, join(folder, "by-hand-halves"), { folder });
  const found = readFixtureTensors(join(out, "model.safetensors"));
  const halves = readFixtureTensors(join(folder, "by-hand-halves", "model.safetensors"));
  const name = "model.layers.1.mlp.up_proj.weight";
  const before = numbersOf(halves.get(name) as Tensor);
  numbersOf(found.get(name) as Tensor).forEach((value, at) => {
    const [row, column] = [Math.floor(at / 24), at % 24];
    const update = 3 * Math.fround(0.2 * Math.sin(row + 1)) * Math.fround(0.3 * Math.sin(column + 1));
    expect(Math.abs(value - (before[at] + update))).toBeLessThan(1e-6);
  });
  expect(numbersOf(found.get("model.norm.weight") as Tensor)[0]).toBeCloseTo(2 * Math.sin(1), 2);
  const card = readFileSync(join(out, "README.md"), "utf8");
  expect(card).toContain("- `adapter`: licence not stated");
}, 60_000);

test("an adapter that does not fit the document, or is not there, is refused by name", async () => {
  await writeAdapter("adapter");
  const narrow = [
    { name: "cut", merge_method: "passthrough", slices: [{ sources: [{ model: "base", layer_range: [0, 1] }] }] },
    { merge_method: "passthrough", models: [model("cut+adapter")] },
  ];
  await expect(planModel(narrow, { folder })).rejects.toThrow(/layers\.1\.mlp\.up_proj/);
  const missing = [narrow[0], { merge_method: "passthrough", models: [model("cut+nowhere")] }];
  await expect(planModel(missing, { folder })).rejects.toMatchObject({ code: "MODEL_NOT_FOUND" });
});

test("slices may take layers of documents", async () => {
  const stack = {
    merge_method: "passthrough",
    slices: [
      { sources: [{ model: "first", layer_range: [0, 2] }] },
      { sources: [{ model: "second", layer_range: [1, 3] }] },
    ],
  };
  const plan = await planModel([stages[1], stages[0], stack], { folder });
  expect(plan.config).toMatchObject({ num_hidden_layers: 4 });
  expect((await weights([stages[1], stages[0], stack])).length).toBeGreaterThan(1000);
}, 60_000);

test("what a document refuses names the document", async () => {
  const faulty = [
    { ...stages[0], models: [model("tuned-1", { weight: 1 }), model("tuned-2", { weight: -1 })] },
    { merge_method: "passthrough", models: [model("first")] },
  ];
  const error = await weights(faulty).catch((reason) => reason);
  expect(error).toBeInstanceOf(LoomweightError);
  expect(error.code).toBe("WEIGHTS_CANCEL");
});

/** A model of two embeddings whose tokenizer has these tokens, each with a row of its own value. */
async function writeTokens(name: string, tokens: readonly string[], rows: number, value: number): Promise<void> {
  const path = join(folder, name);
  mkdirSync(path, { recursive: true });
  const numbers = Float32Array.from({ length: rows * 2 }, (_, i) => value + Math.floor(i / 2));
  const tensors = new Map<string, Tensor>([
    ["model.embed_tokens.weight", cast(fromData("float32", numbers, [rows, 2]), "bfloat16")],
    ["model.norm.weight", cast(fromData("float32", new Float32Array([1, 1]), [2]), "bfloat16")],
  ]);
  await saveSafetensors(join(path, "model.safetensors"), tensors, { force: true });
  writeFileSync(
    join(path, "config.json"),
    JSON.stringify({ model_type: "llama", vocab_size: rows, bos_token_id: value }),
  );
  writeFileSync(
    join(path, "tokenizer.json"),
    JSON.stringify({
      added_tokens: [],
      model: { type: "BPE", vocab: Object.fromEntries(tokens.map((token, id) => [token, id])), merges: [] },
    }),
  );
  writeFileSync(
    join(path, "tokenizer_config.json"),
    JSON.stringify({ added_tokens_decoder: {}, chat_template: `${name} {{ messages }} template` }),
  );
  writeFileSync(join(path, "vocab.json"), "{}");
  writeFileSync(join(path, "chat_template.json"), "{}");
}

test("a document's vocabulary is built on by the next: rows by hand, dtype kept, files that fit", async () => {
  await writeTokens("ab", ["a", "b"], 2, 10);
  await writeTokens("bc", ["b", "c"], 2, 20);
  const recipe = [
    {
      name: "joined",
      merge_method: "linear",
      models: [model("ab", { weight: 0.5 }), model("bc", { weight: 0.5 })],
      tokenizer_source: "union",
    },
    {
      merge_method: "linear",
      models: [model("joined", { weight: 0.5 }), model("ab", { weight: 0.5 })],
      tokenizer: {
        source: "joined",
        pad_to_multiple_of: 4,
        tokens: { d: { source: { kind: "zero" } }, e: { source: "ab" } },
      },
      chat_template: "chatml",
    },
  ];
  // `e` is no token of ab.
  await expect(weights(recipe)).rejects.toThrow(/token of ab/);
  const tokens = recipe[1].tokenizer?.tokens as Record<string, unknown>;
  tokens.e = { source: { kind: "model_token", model: "ab", token: "b" } };
  const out = join(folder, "vocabulary");
  const report = await mergeModel(recipe, out, { folder });
  const embedding = readFixtureTensors(join(out, "model.safetensors")).get("model.embed_tokens.weight") as Tensor;
  expect([embedding.dtype, embedding.shape]).toEqual(["bfloat16", [8, 2]]);
  // joined: a = 10 (ab's alone), b = (11 + 20) / 2, c = 21 (bc's alone).
  const joined = [10, 15.5, 21];
  const first = [...joined, 0, 11]; // with d and e
  const second = [10, 11, 21, 0, 11]; // ab: its own a and b, c from joined
  const mean = (values: readonly number[]) => values.reduce((sum, each) => sum + each, 0) / values.length;
  const rows = first.map((value, row) => (value + second[row]) / 2);
  const padding = (mean(first) + mean(second)) / 2;
  const found = [...numbersOf(embedding)].filter((_, i) => i % 2 === 0);
  [...rows, padding, padding, padding].forEach((value, row) => {
    expect(Math.abs(found[row] - value)).toBeLessThan(value / 128 + 1e-9);
  });
  const json = (name: string) => JSON.parse(readFileSync(join(out, name), "utf8"));
  expect(json("config.json")).toMatchObject({ vocab_size: 8, bos_token_id: 10 });
  expect(
    json("tokenizer.json").added_tokens.map(({ content, id }: { content: string; id: number }) => [content, id]),
  ).toEqual([
    ["c", 2],
    ["d", 3],
    ["e", 4],
  ]);
  const settings = json("tokenizer_config.json");
  expect(Object.keys(settings.added_tokens_decoder)).toEqual(["2", "3", "4"]);
  // One template, wherever a loader looks.
  expect(settings.chat_template).toBe(readFileSync(join(out, "chat_template.jinja"), "utf8"));
  // What would contradict tokenizer.json stays behind.
  expect(readdirSync(out)).not.toContain("vocab.json");
  expect(readdirSync(out)).not.toContain("chat_template.json");
  expect(report.warnings).toEqual([]);
}, 60_000);
