import { describe, expect, test } from "vitest";
import { readFamilyConfig } from "../src/build.ts";
import { detectTask, familyOf, readConfigFields } from "../src/index.ts";
import { publishedConfigs } from "./published-configs.ts";

const folderWith = (config: Readonly<Record<string, unknown>>) => ({ location: "model", config });

function read(config: Readonly<Record<string, unknown>>): unknown {
  const family = familyOf(folderWith(config));
  return readFamilyConfig(family, readConfigFields(config, "config.json"), []);
}

describe("published configurations are read whole", () => {
  for (const [name, config] of Object.entries(publishedConfigs)) {
    test(name, () => {
      expect(read(config)).toBeDefined();
      expect(detectTask(folderWith(config))).toBeDefined();
    });
  }
});

describe("a field that changes the result is honoured or refused by name", () => {
  const base = (name: string) => publishedConfigs[name];
  const [qwen3, gemma, gemma2, phi3, gpt2] = [
    "Qwen/Qwen3-0.6B",
    "google/gemma-2b",
    "google/gemma-2-2b",
    "microsoft/Phi-3-mini-4k-instruct",
    "openai-community/gpt2",
  ].map(base);
  const [modernbert, convnext, resnet, clip, siglip, t5, bart, whisper] = [
    "answerdotai/ModernBERT-base",
    "facebook/convnext-tiny-224",
    "microsoft/resnet-50",
    "openai/clip-vit-base-patch32",
    "google/siglip-base-patch16-224",
    "google-t5/t5-small",
    "facebook/bart-large-cnn",
    "openai/whisper-tiny",
  ].map(base);
  const cases: readonly (readonly [
    string,
    Readonly<Record<string, unknown>>,
    Readonly<Record<string, unknown>>,
    RegExp,
  ])[] = [
    ["layers that slide without a window", qwen3, { layer_types: Array(28).fill("sliding_attention") }, /layer_types/],
    ["attention to later tokens", gemma, { use_bidirectional_attention: true }, /use_bidirectional_attention/],
    ["a cap that is no number", gemma2, { attn_logit_softcapping: "50" }, /attn_logit_softcapping/],
    ["a scaling that the family has not", phi3, { rope_scaling: { type: "linear", factor: 2 } }, /rope_scaling/],
    ["a factor that is missing", phi3, { rope_scaling: { type: "longrope", short_factor: [1] } }, /long_factor/],
    ["model code under another name", phi3, { auto_map: { AutoModel: "modeling_mine.Mine" } }, /auto_map/],
    ["cross-attention", gpt2, { add_cross_attention: true }, /add_cross_attention/],
    ["heads that do not divide", gpt2, { n_head: 7 }, /n_head/],
    ["an unknown pooling", modernbert, { classifier_pooling: "max" }, /classifier_pooling/],
    ["scaling that is not built", modernbert, { rope_scaling: { type: "yarn" } }, /rope_scaling/],
    ["sizes and depths of different length", convnext, { depths: [3, 3] }, /num_stages|hidden_sizes/],
    ["an unknown layer", resnet, { layer_type: "wide" }, /layer_type/],
    ["a tower that is missing", clip, { vision_config: undefined }, /vision_config/],
    ["a copy that contradicts", clip, { text_config_dict: { hidden_size: 640 } }, /text_config_dict.*hidden_size/],
    ["an unknown field of a tower", siglip, { text_config: { rotary: true } }, /text_config\.rotary/],
    ["a tower without its head", siglip, { vision_config: { vision_use_head: false } }, /vision_use_head/],
    ["an unknown projection", t5, { feed_forward_proj: "gated-maxout" }, /feed_forward_proj/],
    ["a norm elsewhere", bart, { normalize_before: true }, /normalize_before/],
    ["an encoder alone", bart, { is_decoder: true }, /is_decoder/],
    ["heads that do not divide d_model", whisper, { decoder_attention_heads: 5 }, /decoder_attention_heads/],
    ["a field that nobody knows", whisper, { rotary: true }, /"rotary"/],
  ];
  for (const [name, config, fields, message] of cases) {
    test(name, () => {
      const changed = Object.fromEntries(
        Object.entries({ ...config, ...fields }).filter(([, value]) => value !== undefined),
      );
      expect(() => read(changed)).toThrow(message);
      expect(() => read(changed)).toThrow(/config\.json/);
    });
  }
});
