import { LoomweightError } from "@loomweight/tensor";
import { describe, expect, test } from "vitest";
import { buildModel, detectTask, type Task } from "../src/index.ts";
import { folderOf, type TinyModel, tinyLlama, withConfig, withShapes } from "./tiny-models.ts";

async function refusal(model: TinyModel, task?: Task): Promise<LoomweightError> {
  const folder = await folderOf(model);
  try {
    await buildModel(folder, task);
  } catch (error) {
    expect(error).toBeInstanceOf(LoomweightError);
    return error as LoomweightError;
  }
  throw new Error("the model was built");
}

test("the model that the refusals are made from is built", async () => {
  const built = await buildModel(await folderOf(tinyLlama));
  expect(built).toMatchObject({ family: "llama", task: "text-generation" });
  expect(built.model.graph.inputs.map(({ name }) => name)).toEqual([
    "input_ids",
    "attention_mask",
    "position_ids",
    "past_key_values.0.key",
    "past_key_values.0.value",
    "past_key_values.1.key",
    "past_key_values.1.value",
  ]);
  expect(built.model.graph.outputs.map(({ name }) => name)).toEqual([
    "logits",
    "present.0.key",
    "present.0.value",
    "present.1.key",
    "present.1.value",
  ]);
});

describe("a configuration that cannot be honoured is refused by name", () => {
  const cases: readonly (readonly [string, Readonly<Record<string, unknown>>, string, RegExp])[] = [
    ["an unknown model type", { model_type: "lamma" }, "UNKNOWN_FAMILY", /"lamma".*Did you mean .*"llama"/],
    ["no model type", { model_type: undefined }, "UNKNOWN_FAMILY", /model_type/],
    ["a model type that is no text", { model_type: 3 }, "INVALID_CONFIG", /model_type/],
    ["an unknown activation", { hidden_act: "sillu" }, "INVALID_CONFIG", /hidden_act.*"silu"/],
    ["an activation named after an object's method", { hidden_act: "toString" }, "INVALID_CONFIG", /hidden_act/],
    [
      "an unknown rope type",
      { rope_scaling: { rope_type: "yarm", factor: 4 } },
      "INVALID_CONFIG",
      /rope_scaling\.rope_type/,
    ],
    [
      "a rope type in the old spelling",
      { rope_scaling: { type: "ntk", factor: 2 } },
      "INVALID_CONFIG",
      /rope_scaling\.type/,
    ],
    [
      "an unknown rope field",
      { rope_scaling: { type: "linear", factor: 2, beta: 3 } },
      "UNKNOWN_CONFIG_FIELD",
      /rope_scaling\.beta/,
    ],
    ["a rope factor below 1", { rope_scaling: { type: "linear", factor: 0.5 } }, "INVALID_CONFIG", /factor/],
    ["rope stated twice and differently", { rope_parameters: { rope_theta: 5 } }, "INVALID_CONFIG", /rope_theta/],
    ["both spellings of rope", { rope_parameters: {}, rope_scaling: {} }, "INVALID_CONFIG", /rope_scaling/],
    ["partial rotation", { partial_rotary_factor: 0.5 }, "INVALID_CONFIG", /partial_rotary_factor/],
    ["rope scaling that is a list", { rope_scaling: [1] }, "INVALID_CONFIG", /rope_scaling/],
    ["an absurd number of layers", { num_hidden_layers: 1e9 }, "INVALID_CONFIG", /num_hidden_layers/],
    ["an absurd hidden size", { hidden_size: 2 ** 40 }, "INVALID_CONFIG", /hidden_size/],
    ["a negative size", { intermediate_size: -1 }, "INVALID_CONFIG", /intermediate_size/],
    ["a fractional size", { vocab_size: 11.5 }, "INVALID_CONFIG", /vocab_size/],
    ["a size that is a text", { hidden_size: "8" }, "INVALID_CONFIG", /hidden_size/],
    ["heads that do not divide", { num_key_value_heads: 3 }, "INVALID_CONFIG", /num_key_value_heads/],
    ["more layers than the weights have", { num_hidden_layers: 3 }, "MISSING_TENSOR", /model\.layers\.2\./],
    ["fewer layers than the weights have", { num_hidden_layers: 1 }, "UNUSED_TENSORS", /model\.layers\.1\./],
    ["a bias that the weights lack", { attention_bias: true }, "MISSING_TENSOR", /q_proj\.bias/],
    ["a size that the weights contradict", { vocab_size: 12 }, "SHAPE_MISMATCH", /embed_tokens/],
    ["an unknown field", { attention_softcap: 30 }, "UNKNOWN_CONFIG_FIELD", /attention_softcap/],
    ["quantized weights", { quantization_config: { bits: 4 } }, "INVALID_CONFIG", /quantization_config/],
    ["model code of its own", { auto_map: { AutoModel: "x.py" } }, "INVALID_CONFIG", /auto_map/],
    ["sliding layers", { layer_types: ["full_attention", "sliding_attention"] }, "INVALID_CONFIG", /layer_types/],
    ["layer types of another length", { layer_types: ["full_attention"] }, "INVALID_CONFIG", /layer_types/],
    ["an epsilon that is not positive", { rms_norm_eps: 0 }, "INVALID_CONFIG", /rms_norm_eps/],
    ["a flag that is no flag", { tie_word_embeddings: "no" }, "INVALID_CONFIG", /tie_word_embeddings/],
    [
      "an architecture of another task",
      { architectures: ["LlamaForTokenClassification"] },
      "INVALID_CONFIG",
      /architectures/,
    ],
    ["no architecture", { architectures: undefined }, "INVALID_CONFIG", /architectures/],
    ["pruned heads", { pruned_heads: { 0: [1] } }, "INVALID_CONFIG", /pruned_heads/],
  ];
  for (const [name, fields, code, message] of cases) {
    test(name, async () => {
      const error = await refusal(withConfig(tinyLlama, fields));
      expect(error.code).toBe(code);
      expect(error.message).toMatch(message);
      expect(error.message).toContain("config.json");
    });
  }
});

test("fields without effect, null fields and private notes are passed over", async () => {
  const fields = {
    use_cache: false,
    pad_token_id: null,
    rope_scaling: null,
    _name_or_path: "x",
    attention_dropout: 0.1,
  };
  await expect(buildModel(await folderOf(withConfig(tinyLlama, fields)))).resolves.toBeDefined();
});

test("a field listed under ignoreConfig is passed over", async () => {
  const folder = await folderOf(withConfig(tinyLlama, { my_note: 1, auto_map: {} }));
  await expect(buildModel(folder, undefined, { ignoreConfig: ["my_note", "auto_map"] })).resolves.toBeDefined();
});

test("a head that is tied and yet differs is refused, an equal one is left out", async () => {
  const tied = withConfig(tinyLlama, { tie_word_embeddings: true });
  const differing = await folderOf(tied, { values: (name, i) => (name === "lm_head.weight" && i === 87 ? 1 : 0.5) });
  await expect(buildModel(differing)).rejects.toMatchObject({ code: "TIED_HEAD_DIFFERS" });
  const same = await folderOf(tied, { values: (_, i) => i });
  const built = await buildModel(same);
  expect(built.model.graph.initializers.has("lm_head.weight")).toBe(false);
});

test("a head that is not tied and not there is refused with the way out", async () => {
  const error = await refusal(withShapes(tinyLlama, { "lm_head.weight": undefined }));
  expect(error.code).toBe("MISSING_HEAD");
  expect(error.message).toContain("tie_word_embeddings");
});

test("a tensor that has no place in the model is refused", async () => {
  const error = await refusal(withShapes(tinyLlama, { "model.layers.0.self_attn.q_norm.weight": [2] }));
  expect(error.code).toBe("UNUSED_TENSORS");
  expect(error.message).toContain("q_norm");
});

test("weights that are integers are refused", async () => {
  const folder = await folderOf(tinyLlama, { dtype: "int8" });
  await expect(buildModel(folder)).rejects.toMatchObject({ code: "UNSUPPORTED_DTYPE" });
});

test("a task that the family is not built for is refused, listing those that it is", async () => {
  const error = await refusal(tinyLlama, "image-classification");
  expect(error.code).toBe("UNSUPPORTED_TASK");
  expect(error.message).toContain("text-generation, feature-extraction");
  expect((await refusal(tinyLlama, "text-generatio" as Task)).message).toContain('"text-generation"');
});

test("a folder without config.json is refused", async () => {
  const folder = { ...(await folderOf(tinyLlama)), config: undefined };
  expect(() => detectTask(folder)).toThrow(/config\.json/);
  await expect(buildModel(folder)).rejects.toMatchObject({ code: "MISSING_CONFIG" });
});
