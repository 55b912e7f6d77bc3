import { add, cast, input, mul, type Value } from "@loomweight/graph";
import { activations } from "../components/activation.ts";
import { type Attended, attend } from "../components/attention.ts";
import { columnsOf, maskValues } from "../components/columns.ts";
import { embedding } from "../components/embeddings.ts";
import { narrowed, productInRange } from "../components/float32.ts";
import { languageHead, logitsOutput } from "../components/heads.ts";
import { linear } from "../components/linear.ts";
import { triangularBias } from "../components/mask.ts";
import { inside, type Module } from "../components/module.ts";
import { rmsNorm } from "../components/norms.ts";
import { relativeBias } from "../components/relative-bias.ts";
import {
  attendEncoder,
  attendPast,
  type LayerCache,
  type Seq2SeqDecoder,
  seq2seqGraph,
  seq2seqInputs,
  tokenColumns,
} from "../components/seq2seq.ts";
import type { ConfigReader } from "../config-reader.ts";
import { defineFamily, type FamilyBuild } from "../family.ts";

interface T5Config {
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly headDim: number;
  readonly heads: number;
  readonly intermediateSize: number;
  readonly layers: number;
  readonly decoderLayers: number;
  readonly buckets: number;
  readonly maxDistance: number;
  readonly epsilon: number;
  readonly activation: (x: Value) => Value;
  readonly gated: boolean;
  /** Whether the head is the table of words. */
  readonly tied: boolean;
  /** Whether its input is multiplied by hiddenSize^−0.5. */
  readonly scaled: boolean;
}

const words = "shared";

/**
 * T5, Flan-T5 and mT5: encoder–decoder with RMSNorm in front of each branch, no biases, scores without a scale and with a
 * bias by distance that the first block holds for all; sums of branches and gated products are float32 in half precision too,
 * whose range they leave. A tied head reads its input times hiddenSize^−0.5.
 * Source: Raffel et al. 2019, arXiv:1910.10683; gated form: Shazeer 2020, arXiv:2002.05202.
 */
export const t5 = defineFamily<T5Config>({
  name: "t5",
  source: "arXiv:1910.10683",
  modelTypes: ["t5", "mt5"],
  architectures: {
    T5ForConditionalGeneration: "text2text-generation",
    MT5ForConditionalGeneration: "text2text-generation",
    T5EncoderModel: "feature-extraction",
    MT5EncoderModel: "feature-extraction",
  },
  tasks: ["text2text-generation", "feature-extraction"],
  encoderDecoder: true,
  basePrefix: "",
  unneeded: [
    /^(encoder|decoder)\.embed_tokens\.weight$/, // copies of the shared table
    /^decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight$/, // in the first files, never read
  ],
  unneededFor: { "feature-extraction": [/^decoder\./, /^lm_head\.weight$/] },

  readConfig,

  headNames: ({ tied }, task) =>
    task === "text2text-generation" ? { head: "lm_head", embedding: `${words}.weight`, tied } : undefined,

  build(options) {
    const { config, model, task, dtype, cacheDtype } = options;
    const inputIds = input("input_ids", "int64", ["batch_size", "encoder_sequence_length"]);
    const attentionMask = input("attention_mask", "int64", ["batch_size", "encoder_sequence_length"]);
    const states = inside(model, "encoder", (encoder) => encode(model, encoder, { inputIds, attentionMask }, config));
    const encoderModel = {
      inputs: [inputIds, attentionMask],
      outputs: { last_hidden_state: logitsOutput(states) },
    };
    if (task === "feature-extraction") return encoderModel;

    const { heads, headDim, hiddenSize, decoderLayers: layers } = config;
    const { inputs, decoder } = seq2seqInputs({
      layers,
      heads,
      headDim,
      hiddenSize,
      masked: true,
      dtype,
      cacheDtype,
      gpuOnly: model.gpuOnly,
    });
    const { last, presents } = inside(model, "decoder", (module) => decode(model, module, decoder, config));
    const decoderModel = seq2seqGraph(inputs, headOf(options, last), presents, cacheDtype);
    return { graphs: { encoder_model: encoderModel, decoder_model_merged: decoderModel } };
  },
});

function readConfig(config: ConfigReader): T5Config {
  const isMt5 = config.text("model_type") === "mt5";
  const layers = config.size("num_layers", { default: isMt5 ? 8 : 6, max: 10000 });
  const projection = config.text("feed_forward_proj") ?? (isMt5 ? "gated-gelu" : "relu");
  const gated = projection.startsWith("gated-");
  const named = projection === "gated-gelu" ? "gelu_new" : projection.replace(/^gated-/, "");
  if (!Object.hasOwn(activations, named)) {
    throw config.refuse("feed_forward_proj", `"relu", "gated-gelu", or another activation, with or without "gated-"`);
  }
  config.only("is_decoder", [false], "T5 without its encoder is not built");
  // what follows from feed_forward_proj, and what nothing reads
  for (const field of ["dense_act_fn", "is_gated_act", "n_positions"]) config.value(field);
  return {
    vocabSize: config.size("vocab_size", { default: isMt5 ? 250112 : 32128 }),
    hiddenSize: config.size("d_model", { default: 512 }),
    headDim: config.size("d_kv", { default: 64 }),
    heads: config.size("num_heads", { default: isMt5 ? 6 : 8 }),
    intermediateSize: config.size("d_ff", { default: isMt5 ? 1024 : 2048 }),
    layers,
    decoderLayers: config.size("num_decoder_layers", { default: layers, max: 10000 }),
    buckets: config.size("relative_attention_num_buckets", { default: 32, min: 4 }),
    maxDistance: config.size("relative_attention_max_distance", { default: 128, max: 2 ** 20 }),
    epsilon: config.number("layer_norm_epsilon", { default: 1e-6 }),
    activation: activations[named],
    gated,
    ...readHead(config, isMt5),
  };
}

/**
 * T5 scales what a tied head reads; transformers 5 writes that under a name of its own, and there ties in name only. mT5
 * never scales: its published files have a head of their own.
 */
function readHead(config: ConfigReader, isMt5: boolean): { tied: boolean; scaled: boolean } {
  const tied = config.flag("tie_word_embeddings", !isMt5);
  if (isMt5) return { tied, scaled: false };
  const scaled = config.flag("scale_decoder_outputs", tied);
  return { tied: scaled, scaled };
}

function encode(
  model: Module,
  encoder: Module,
  { inputIds, attentionMask }: { readonly inputIds: Value; readonly attentionMask: Value },
  config: T5Config,
): Value {
  const { vocabSize, hiddenSize, heads, headDim, layers } = config;
  const columns = columnsOf(maskValues(attentionMask), 1);
  const scoreBias = distanceBias(encoder, columns, columns, true, config);
  let x = cast(embedding(model, words, inputIds, [vocabSize, hiddenSize]), "float32");
  for (let layer = 0; layer < layers; layer++) {
    x = inside(encoder, `block.${layer}`, (block) => {
      const middle = branch(block, "layer.0", x, config, (module, normed) =>
        inside(module, "SelfAttention", (self) => {
          const [query, key, value] = ["q", "k", "v"].map((name) => project(self, name, normed, config));
          const masks = { attentionMask, scoreBias };
          return output(self, attend(self, { query, key, value }, { heads, headDim, scale: 1, ...masks }), config);
        }),
      );
      return branch(block, "layer.1", middle, config, (module, normed) => feedForward(module, normed, config));
    });
  }
  return rmsNorm(encoder, "final_layer_norm", x, { size: hiddenSize, epsilon: config.epsilon });
}

function decode(
  model: Module,
  module: Module,
  decoder: Seq2SeqDecoder,
  config: T5Config,
): { last: Value; presents: LayerCache[] } {
  const { vocabSize, hiddenSize, heads, headDim, decoderLayers } = config;
  const { past } = decoder;
  let x = cast(embedding(model, words, decoder.inputIds, [vocabSize, hiddenSize]), "float32");
  const { queries, keys } = tokenColumns(decoder, x);
  const distances = distanceBias(module, queries, keys, false, config);
  const scoreBias = add(distances, triangularBias(queries, keys, module.weights.dtype));
  const presents: LayerCache[] = [];
  const options = { heads, headDim, scale: 1 };
  for (let layer = 0; layer < decoderLayers; layer++) {
    x = inside(module, `block.${layer}`, (block) => {
      const own = branchWithCache(block, "layer.0", x, config, (inner, normed) =>
        inside(inner, "SelfAttention", (self) => {
          const [query, key, value] = ["q", "k", "v"].map((name) => project(self, name, normed, config));
          const bias = { ...options, scoreBias };
          const { output: mixed, present } = attendPast(self, { query, key, value }, past?.[layer].decoder, bias);
          return { output: output(self, mixed, config), present };
        }),
      );
      const crossed = branchWithCache(block, "layer.1", own.output, config, (inner, normed) =>
        inside(inner, "EncDecAttention", (cross) => {
          const query = project(cross, "q", normed, config);
          const keyOrValue = (states: Value, what: "key" | "value") => project(cross, what[0], states, config);
          const { output: mixed, present } = attendEncoder(cross, query, decoder, layer, keyOrValue, options);
          return { output: output(cross, mixed, config), present };
        }),
      );
      presents.push({ decoder: own.present, encoder: crossed.present });
      return branch(block, "layer.2", crossed.output, config, (inner, normed) => feedForward(inner, normed, config));
    });
  }
  const last = rmsNorm(module, "final_layer_norm", x, { size: hiddenSize, epsilon: config.epsilon });
  return { last: narrowed(module, last), presents };
}

/** x + part(norm(x)) */
function branch(
  block: Module,
  name: string,
  x: Value,
  { hiddenSize, epsilon }: T5Config,
  part: (module: Module, normed: Value) => Value,
): Value {
  return inside(block, name, (module) => {
    const normed = narrowed(module, rmsNorm(module, "layer_norm", x, { size: hiddenSize, epsilon }));
    return add(x, cast(part(module, normed), "float32"));
  });
}

function branchWithCache(
  block: Module,
  name: string,
  x: Value,
  { hiddenSize, epsilon }: T5Config,
  part: (module: Module, normed: Value) => Attended,
): Attended {
  return inside(block, name, (module) => {
    const normed = narrowed(module, rmsNorm(module, "layer_norm", x, { size: hiddenSize, epsilon }));
    const { output: mixed, present } = part(module, normed);
    return { output: add(x, cast(mixed, "float32")), present };
  });
}

function project(attention: Module, name: string, x: Value, { hiddenSize, heads, headDim }: T5Config): Value {
  return linear(attention, name, x, { inFeatures: hiddenSize, outFeatures: heads * headDim, bias: false });
}

function output(attention: Module, mixed: Value, { hiddenSize, heads, headDim }: T5Config): Value {
  return linear(attention, "o", mixed, { inFeatures: heads * headDim, outFeatures: hiddenSize, bias: false });
}

/** wo(activation(wi(x))), or wo(activation(wi_0(x)) · wi_1(x)) */
function feedForward(parent: Module, x: Value, config: T5Config): Value {
  const { hiddenSize, intermediateSize, activation, gated } = config;
  return inside(parent, "DenseReluDense", (module) => {
    const widen = { inFeatures: hiddenSize, outFeatures: intermediateSize, bias: false };
    const float = (name: string) => cast(linear(module, name, x, widen), "float32");
    const wide = gated ? mul(activation(float("wi_0")), float("wi_1")) : activation(float("wi"));
    const narrow = { inFeatures: intermediateSize, outFeatures: hiddenSize, bias: false };
    return productInRange(module, wide, (each) => linear(module, "wo", each, narrow));
  });
}

/** The bias by distance, whose table the first block holds: [1, heads, queries, keys]. */
function distanceBias(stack: Module, queries: Value, keys: Value, bothWays: boolean, config: T5Config): Value {
  const { heads, buckets, maxDistance } = config;
  return relativeBias(stack, "block.0.layer.0.SelfAttention.relative_attention_bias", {
    heads,
    rows: buckets,
    buckets,
    maxDistance,
    bothWays,
    queries,
    keys,
  });
}

function headOf({ config, model, tiedHead }: FamilyBuild<T5Config>, last: Value): Value {
  const { hiddenSize, vocabSize, tied, scaled } = config;
  return languageHead(model, "lm_head", scaled ? mul(last, hiddenSize ** -0.5) : last, {
    hiddenSize,
    vocabSize,
    tiedTo: tied ? `${words}.weight` : undefined,
    tiedHead,
  });
}
