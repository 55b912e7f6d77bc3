import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { saveSafetensors } from "@loomweight/checkpoint/node";
import { readFixtureTensors } from "@loomweight/fixtures";
import { cast, type DType, fromData, type Tensor } from "@loomweight/tensor";
import { afterAll, beforeAll, expect, test } from "vitest";
import { mergeModel, planModel } from "../src/node/index.ts";
import { numbersOf } from "./support.ts";

const folder = mkdtempSync(join(tmpdir(), "loomweight-modules-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** A model whose tensors hold one number each: `value` + the position of the tensor in the list. */
async function write(name: string, names: readonly string[], value: number, config: object, dtype: DType = "float32") {
  const path = join(folder, name);
  mkdirSync(path, { recursive: true });
  const tensors = new Map<string, Tensor>();
  names.forEach((each, index) => {
    const rows = /embed_tokens|lm_head|shared/.test(each) ? 4 : 2;
    const numbers = new Float32Array(rows * 2).fill(value + index);
    tensors.set(each, cast(fromData("float32", numbers, [rows, 2]), dtype));
  });
  await saveSafetensors(join(path, "model.safetensors"), tensors, { force: true });
  writeFileSync(join(path, "config.json"), JSON.stringify(config));
}

const llava = [
  "model.vision_tower.vision_model.embeddings.patch_embedding.weight", // 0
  "model.vision_tower.vision_model.encoder.layers.0.fc1.weight", // 1
  "model.vision_tower.vision_model.encoder.layers.1.fc1.weight", // 2
  "model.multi_modal_projector.linear_1.weight", // 3
  "model.language_model.embed_tokens.weight", // 4
  "model.language_model.layers.0.mlp.up_proj.weight", // 5
  "model.language_model.layers.1.mlp.up_proj.weight", // 6
  "model.language_model.layers.2.mlp.up_proj.weight", // 7
  "model.language_model.norm.weight", // 8
  "lm_head.weight", // 9
];
const llavaConfig = {
  architectures: ["LlavaForConditionalGeneration"],
  dtype: "float32",
  text_config: { num_hidden_layers: 3, layer_types: ["full", "sliding", "full"], vocab_size: 9 },
  vision_config: { num_hidden_layers: 2 },
};
const t5 = [
  "shared.weight", // 0
  "encoder.block.0.layer.0.SelfAttention.q.weight", // 1
  "encoder.block.1.layer.0.SelfAttention.q.weight", // 2
  "encoder.final_layer_norm.weight", // 3
  "decoder.block.0.layer.0.SelfAttention.q.weight", // 4
  "decoder.block.1.layer.0.SelfAttention.q.weight", // 5
  "decoder.block.2.layer.0.SelfAttention.q.weight", // 6
  "decoder.final_layer_norm.weight", // 7
  "lm_head.weight", // 8
];
const t5Config = { architectures: ["T5ForConditionalGeneration"], num_layers: 2, num_decoder_layers: 3, vocab_size: 4 };

beforeAll(async () => {
  await write("llava-a", llava, 0, llavaConfig);
  await write("llava-b", llava, 100, llavaConfig);
  await write("t5-a", t5, 0, t5Config);
  await write("t5-b", t5, 100, t5Config);
  const older = llava.map((name) => name.replace(/^model\.(vision_tower|multi)/, "$1").replace("language_model.", ""));
  await write("top-a", older, 0, { ...llavaConfig, text_config: undefined, num_hidden_layers: 3 });
  await write("top-b", older, 100, { ...llavaConfig, text_config: undefined, num_hidden_layers: 3 });
});

let runs = 0;
interface Merged {
  /** The number that each tensor holds. */
  readonly numbers: Readonly<Record<string, number>>;
  readonly dtypes: ReadonlySet<string>;
  // biome-ignore lint/suspicious/noExplicitAny: configurations are read as they come
  readonly config: any;
  readonly warnings: readonly string[];
}
async function merged(recipe: object, options: object = {}): Promise<Merged> {
  const out = join(folder, `out-${runs++}`);
  const { warnings } = await mergeModel(recipe, out, { folder, workers: 1, ...options });
  const tensors = readFixtureTensors(join(out, "model.safetensors"));
  return {
    numbers: Object.fromEntries([...tensors].map(([name, tensor]) => [name, numbersOf(tensor)[0]])),
    dtypes: new Set([...tensors.values()].map(({ dtype }) => dtype)),
    config: JSON.parse(readFileSync(join(out, "config.json"), "utf8")),
    warnings,
  };
}
const weighted = (a: number, b: number, names: [string, string] = ["llava-a", "llava-b"]) => [
  { model: names[0], parameters: { weight: a } },
  { model: names[1], parameters: { weight: b } },
];
const layers = (model: string, start: number, end: number) => ({ sources: [{ model, layer_range: [start, end] }] });

test("modules are merged each by its own models, and the head goes with the text decoder", async () => {
  const recipe = {
    merge_method: "linear",
    modules: {
      text_decoder: { models: weighted(0.25, 0.75) },
      vision_tower: { models: weighted(1, 0) },
      multi_modal_projector: { models: weighted(1, 1), parameters: { normalize: false } },
    },
  };
  const { numbers, config, warnings } = await merged(recipe);
  expect(warnings).toEqual([]);
  expect(Object.keys(numbers).sort()).toEqual([...llava].sort());
  llava.forEach((name, index) => {
    const expected = name.includes("vision_tower") ? index : name.includes("projector") ? 100 + 2 * index : 75 + index;
    expect([name, numbers[name]]).toEqual([name, expected]);
  });
  expect(config.text_config).toEqual({ ...llavaConfig.text_config, vocab_size: 4 });
  expect(config.vision_config).toEqual(llavaConfig.vision_config);
});

test("levels: a module's parameters come before the recipe's and after a model's", async () => {
  const recipe = {
    merge_method: "linear",
    parameters: { weight: 1 },
    modules: {
      text_decoder: { models: [{ model: "llava-a" }, { model: "llava-b", parameters: { weight: 9 } }] },
      vision_tower: { models: [{ model: "llava-a" }, { model: "llava-b" }], parameters: { weight: 3 } },
      projector: {
        models: [{ model: "llava-a" }, { model: "llava-b", parameters: { weight: 9 } }],
        parameters: { weight: 3 },
      },
    },
  };
  const { numbers } = await merged(recipe);
  expect(numbers["lm_head.weight"]).toBeCloseTo(99, 4); // 1 to 9: 0.9 · 100 + 9
  expect(numbers[llava[1]]).toBeCloseTo(51, 4); // 3 to 3
  expect(numbers[llava[3]]).toBeCloseTo(78, 4); // 3 to 9: 0.75 · 100 + 3
});

test("slices of one module change its own layer count and lists; a gradient runs over its own layers", async () => {
  const recipe = {
    merge_method: "passthrough",
    modules: {
      text_decoder: { slices: [layers("llava-a", 0, 2), layers("llava-b", 1, 3)] },
      vision_tower: { slices: [layers("llava-b", 0, 2)], parameters: { scale: [1, 2] } },
      multi_modal_projector: { models: [{ model: "llava-a" }] },
    },
  };
  const { numbers, config } = await merged(recipe);
  const text = [0, 1, 2, 3].map((layer) => numbers[`model.language_model.layers.${layer}.mlp.up_proj.weight`]);
  expect(text).toEqual([5, 6, 106, 107]);
  // The embedding is that of the first slice, norm and head those of the last.
  expect([numbers[llava[4]], numbers[llava[8]], numbers[llava[9]]]).toEqual([4, 108, 109]);
  expect([numbers[llava[0]], numbers[llava[1]], numbers[llava[2]]]).toEqual([100, 101, 204]);
  expect(numbers[llava[3]]).toBe(3);
  expect(config.text_config).toEqual({
    num_hidden_layers: 4,
    layer_types: ["full", "sliding", "sliding", "full"],
    vocab_size: 4,
  });
  expect(config.vision_config).toEqual({ num_hidden_layers: 2 });
});

test("encoder and decoder: shared embeddings go with the encoder, the head with the decoder", async () => {
  const recipe = {
    merge_method: "passthrough",
    modules: {
      encoder: { slices: [layers("t5-b", 1, 2)] },
      decoder: { slices: [layers("t5-a", 0, 1), layers("t5-b", 2, 3), layers("t5-a", 1, 3)] },
    },
  };
  const { numbers, config, warnings } = await merged(recipe);
  expect(warnings).toEqual([]);
  expect(numbers).toEqual({
    "shared.weight": 100,
    "encoder.block.0.layer.0.SelfAttention.q.weight": 102,
    "encoder.final_layer_norm.weight": 103,
    "decoder.block.0.layer.0.SelfAttention.q.weight": 4,
    "decoder.block.1.layer.0.SelfAttention.q.weight": 106,
    "decoder.block.2.layer.0.SelfAttention.q.weight": 5,
    "decoder.block.3.layer.0.SelfAttention.q.weight": 6,
    "decoder.final_layer_norm.weight": 7,
    "lm_head.weight": 8,
  });
  expect(config).toMatchObject({ num_layers: 1, num_decoder_layers: 4 });
});

test("what belongs to no module is taken from the base, in the dtype asked for, and the report says so", async () => {
  const recipe = {
    merge_method: "task_arithmetic",
    base_model: "llava-a",
    modules: { text_decoder: { models: weighted(0, 0.5) } },
    dtype: "bfloat16",
  };
  const { numbers, warnings, dtypes } = await merged(recipe);
  expect([...dtypes]).toEqual(["bfloat16"]);
  expect(llava.map((name) => numbers[name])).toEqual([0, 1, 2, 3, 54, 55, 56, 57, 58, 59]);
  expect(warnings).toEqual([expect.stringMatching(/^4 tensors belong to no module .* llava-a/)]);
  // The same as a document that another builds on, and in workers' plans.
  const twice = [
    { ...recipe, name: "first" },
    { merge_method: "passthrough", models: [{ model: "first" }] },
  ];
  expect((await merged(twice)).numbers).toEqual(numbers);
});

test("a text decoder that has no prefix is what the other parts leave", async () => {
  const recipe = {
    merge_method: "linear",
    modules: { text_decoder: { models: weighted(0.5, 0.5, ["top-a", "top-b"]) } },
  };
  const { numbers } = await merged(recipe);
  expect(numbers["model.layers.2.mlp.up_proj.weight"]).toBe(57);
  expect(numbers["lm_head.weight"]).toBe(59);
  expect(numbers["vision_tower.vision_model.encoder.layers.0.fc1.weight"]).toBe(1);
  const sliced = {
    merge_method: "passthrough",
    modules: { text_decoder: { slices: [layers("top-b", 0, 1)] }, vision_tower: { models: [{ model: "top-a" }] } },
  };
  expect((await merged(sliced)).config.num_hidden_layers).toBe(1);
});

test("a module may be named by the path of its tensors, and the longer path wins", async () => {
  const recipe = {
    merge_method: "linear",
    modules: {
      model: { models: weighted(0.5, 0.5) },
      "model.vision_tower.vision_model": { models: weighted(1, 0) },
      lm_head: { models: weighted(0, 1) },
    },
  };
  const { numbers } = await merged(recipe);
  expect(llava.map((name) => numbers[name])).toEqual([0, 1, 2, 53, 54, 55, 56, 57, 58, 109]);
});

test.each([
  ["a part that is not there", { audio_tower: { models: weighted(1, 1) } }, "UNKNOWN_MODULE", /vision_tower/],
  [
    "two names for one part",
    { text_decoder: { models: weighted(1, 1) }, language_model: { models: weighted(1, 1) } },
    "AMBIGUOUS_MODULE",
    /text_decoder/,
  ],
  ["default beside others", { default: { models: weighted(1, 1) }, encoder: {} }, "INVALID_RECIPE", /default|neither/],
  ["neither models nor slices", { text_decoder: { parameters: {} } }, "INVALID_RECIPE", /either models or slices/],
  ["no modules", {}, "INVALID_RECIPE", /at least one/],
  ["an unknown key", { text_decoder: { model: 1 } }, "UNKNOWN_KEY", /models/],
])("refused: %s", async (_, modules, code, message) => {
  const error = await planModel({ merge_method: "linear", modules }, { folder }).catch((reason) => reason);
  expect([error.code, error.message]).toEqual([code, expect.stringMatching(message)]);
});

test("slices of a model of several parts are refused with the names of its parts", async () => {
  const recipe = { merge_method: "passthrough", slices: [layers("llava-a", 0, 2)] };
  const error = await planModel(recipe, { folder }).catch((reason) => reason);
  expect(error.code).toBe("NO_LAYERS");
  expect(error.message).toMatch(/modules.*text_decoder, vision_tower/);
});

test("default stays the whole model, by models as well", async () => {
  const recipe = { merge_method: "linear", modules: { default: { models: weighted(0.5, 0.5) } } };
  expect((await merged(recipe)).numbers[llava[0]]).toBe(50);
});
