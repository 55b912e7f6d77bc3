import type { OnnxModel, ValueInfo } from "@loomweight/graph";
import { invalidConfig } from "@loomweight/models";
import { toJson } from "../companions.ts";

type Json = Readonly<Record<string, unknown>>;

export interface GenaiConfigOptions {
  /** `model.type`. */
  readonly type: string;
  /** Name of the model file. */
  readonly filename: string;
  /** The graph: names, heads, layers and vocabulary are read from it. */
  readonly model: OnnxModel;
  /** config.json. */
  readonly config: Json;
  /** generation_config.json; its values stand before those of config.json. */
  readonly generation: Json;
  /** Name of config.json, for messages. */
  readonly configFile: string;
  /** Execution providers in order of preference, by onnxruntime-genai's names; default the CPU. */
  readonly providers?: readonly string[];
}

/** Fields by which config files state how many tokens a model was made for, in order of preference. */
const contextFields = ["seq_length", "max_position_embeddings", "n_positions", "max_sequence_length"];
const headFields = ["num_attention_heads", "n_head"];

/**
 * genai_config.json: names and sizes of the graph, special tokens, and how to search by default. The cache is not shared
 * between steps (`past_present_share_buffer`): a shared one is as long as the context, and the graphs take the length of the
 * past from its shape. Throws `INVALID_CONFIG`.
 * Source: src/config.cpp and builders/base.py of onnxruntime-genai, August 2026.
 */
export function genaiConfig(options: GenaiConfigOptions): string {
  const { type, filename, model, config, generation, configFile, providers = [] } = options;
  const [past, logits] = [layersOf(model), output(model, "logits")];
  const [, kvHeads, , headSize] = past[0].shape as readonly number[];
  const vocabulary = logits.shape?.[2] as number;
  const whole = (fields: readonly string[]) => {
    const field = fields.find((each) => config[each] != null);
    const found = field === undefined ? undefined : config[field];
    if (Number.isSafeInteger(found) && (found as number) > 0 && (found as number) <= largestInt) return found as number;
    throw invalidConfig({
      file: configFile,
      field: field ?? fields[1],
      expected: "a whole number: onnxruntime-genai must be told",
      found,
    });
  };
  const context = whole(contextFields);
  const either = (field: string) => generation[field] ?? config[field] ?? undefined;
  const end = tokens(either("eos_token_id"));
  const names = (found: readonly string[], of: readonly ValueInfo[]) =>
    Object.fromEntries(found.filter((name) => of.some((each) => each.name === name)).map((name) => [name, name]));
  return toJson({
    model: {
      type,
      context_length: context,
      vocab_size: vocabulary,
      ...given("bos_token_id", tokens(either("bos_token_id"))[0]),
      ...given("eos_token_id", end.length > 1 ? end : end[0]),
      ...given("pad_token_id", tokens(either("pad_token_id"))[0] ?? end[0]),
      decoder: {
        session_options: { log_id: "onnxruntime-genai", provider_options: providers.map((name) => ({ [name]: {} })) },
        filename,
        hidden_size: whole(["hidden_size", "n_embd"]),
        head_size: headSize,
        num_attention_heads: whole(headFields),
        num_key_value_heads: kvHeads,
        num_hidden_layers: past.length,
        inputs: {
          ...names(["input_ids", "attention_mask", "position_ids"], model.graph.inputs),
          past_key_names: "past_key_values.%d.key",
          past_value_names: "past_key_values.%d.value",
        },
        outputs: {
          logits: "logits",
          present_key_names: "present.%d.key",
          present_value_names: "present.%d.value",
        },
      },
    },
    search: {
      do_sample: either("do_sample") === true,
      early_stopping: true,
      max_length: context,
      min_length: 0,
      num_return_sequences: 1,
      past_present_share_buffer: false,
      diversity_penalty: 0,
      ...numbers(either, { length_penalty: 1, repetition_penalty: 1, temperature: 1, top_p: 1 }),
      ...numbers(either, { num_beams: 1, no_repeat_ngram_size: 0 }),
      // more than there are tokens is an error there
      top_k: Math.min(vocabulary, numbers(either, { top_k: 50 }).top_k),
    },
  });
}

/** What its reader holds in 32 bits. */
const largestInt = 2 ** 31 - 1;

/** The keys of the cache, one a layer. */
function layersOf({ graph }: OnnxModel): ValueInfo[] {
  return graph.inputs.filter(({ name }) => /^past_key_values\.\d+\.key$/.test(name));
}

function output({ graph }: OnnxModel, wanted: string): ValueInfo {
  return graph.outputs.find(({ name }) => name === wanted) as ValueInfo;
}

/** Token ids of a field that holds one or several; what is no id is left out. */
function tokens(found: unknown): number[] {
  const list: readonly unknown[] = Array.isArray(found) ? found : [found];
  return list.filter(
    (id): id is number => Number.isSafeInteger(id) && (id as number) >= 0 && (id as number) <= largestInt,
  );
}

/** A field only where it has a value: null is no number to its reader. */
function given(name: string, value: unknown): Json {
  return value === undefined ? {} : { [name]: value };
}

function numbers<T extends Record<string, number>>(either: (field: string) => unknown, defaults: T): T {
  const entries = Object.entries(defaults).map(([name, initial]) => {
    const found = either(name);
    return [name, typeof found === "number" && Number.isFinite(found) ? found : initial];
  });
  return Object.fromEntries(entries) as T;
}
