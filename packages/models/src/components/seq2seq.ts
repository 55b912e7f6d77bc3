import {
  add,
  cast,
  choose,
  concat,
  cumSum,
  type GraphValue,
  greater,
  input,
  matMul,
  mul,
  multiHeadAttention,
  reduceSum,
  shapeOf,
  slice,
  softmax,
  transpose,
  type Value,
} from "@loomweight/graph";
import { fromData } from "@loomweight/tensor";
import type { FamilyGraph } from "../family.ts";
import type { ComputeDType } from "../weights.ts";
import { joinHeads, type QueryKeyValue, splitHeads } from "./attention.ts";
import { columnsOf, filled, sizeOf } from "./columns.ts";
import type { KeyValues } from "./decoder.ts";
import { logitsOutput } from "./heads.ts";
import { paddingBias, paddingBiasFor } from "./mask.ts";
import type { Module } from "./module.ts";

/** A decoder layer's cache: of its own tokens, and of the encoder's. [batch, heads, tokens, headDim] each. */
export interface LayerCache {
  readonly decoder: KeyValues;
  readonly encoder: KeyValues;
}

/** What every layer of the decoder of an encoder–decoder shares. */
export interface Seq2SeqDecoder {
  readonly inputIds: Value;
  /** [batch, source, hidden], in the graph's dtype. */
  readonly encoderStates: Value;
  /** int64 [batch, source]; undefined: every token of the source is real. */
  readonly encoderMask: Value | undefined;
  /** One per layer; undefined where nothing is cached. */
  readonly past: readonly LayerCache[] | undefined;
  /** How many tokens are cached, told by the shape of this key or value; undefined: none. */
  readonly cached: Value | undefined;
  /** Whether the encoder's keys and values are cached, bool; undefined: never, or not to be asked. */
  readonly encoded: Value | undefined;
}

/** Columns of the new tokens and of all tokens with those of the cache, in float32 [queries] and [total]: 1, 2, … */
export interface TokenColumns {
  readonly queries: Value;
  readonly keys: Value;
}

/** Columns of tokens whose embeddings are `words` [batch, queries, hidden]. */
export function tokenColumns({ cached }: Pick<Seq2SeqDecoder, "cached">, words: Value): TokenColumns {
  const own = columnsOf(words, 1);
  if (cached === undefined) return { queries: own, keys: own };
  const before = filled(cached, 2, 1);
  return {
    queries: add(own, reduceSum(before, [0], true)),
    keys: cumSum(concat([before, filled(words, 1, 1)], 0), 0),
  };
}

export interface Seq2SeqOptions {
  readonly layers: number;
  readonly heads: number;
  readonly headDim: number;
  /** Hidden size of the encoder. */
  readonly hiddenSize: number;
  /** Whether the encoder's mask is an input. */
  readonly masked: boolean;
  readonly dtype: ComputeDType;
  readonly cacheDtype: ComputeDType;
  /** Whether every node must have a kernel on a GPU. */
  readonly gpuOnly: boolean;
}

/**
 * The inputs of `decoder_model_merged` as transformers.js feeds them: input_ids [batch, sequence], encoder_hidden_states,
 * encoder_attention_mask, past_key_values.N.{decoder,encoder}.{key,value}. The first step comes with an empty cache.
 */
export function seq2seqInputs(options: Seq2SeqOptions): { inputs: GraphValue[]; decoder: Seq2SeqDecoder } {
  const { layers, heads, headDim, hiddenSize, masked, dtype, cacheDtype, gpuOnly } = options;
  const inputIds = input("input_ids", "int64", ["batch_size", "decoder_sequence_length"]);
  const encoderStates = input("encoder_hidden_states", "float32", [
    "batch_size",
    "encoder_sequence_length",
    hiddenSize,
  ]);
  const encoderMask = input("encoder_attention_mask", "int64", ["batch_size", "encoder_sequence_length"]);
  const caches = Array.from({ length: layers }, (_, layer) => {
    const cache = (side: string, kind: string, tokens: string) =>
      input(`past_key_values.${layer}.${side}.${kind}`, cacheDtype, ["batch_size", heads, tokens, headDim]);
    const both = (side: string, tokens: string) => ({
      key: cache(side, "key", tokens),
      value: cache(side, "value", tokens),
    });
    return {
      decoder: both("decoder", "past_decoder_sequence_length"),
      encoder: both("encoder", "past_encoder_sequence_length"),
    };
  });
  const inDtype = ({ key, value }: KeyValues) => ({ key: cast(key, dtype), value: cast(value, dtype) });
  return {
    inputs: [
      inputIds,
      encoderStates,
      ...(masked ? [encoderMask] : []),
      ...caches.flatMap(({ decoder, encoder }) => [decoder.key, decoder.value, encoder.key, encoder.value]),
    ],
    decoder: {
      inputIds,
      encoderStates: cast(encoderStates, dtype),
      encoderMask: masked ? encoderMask : undefined,
      past: caches.map(({ decoder, encoder }) => ({ decoder: inDtype(decoder), encoder: inDtype(encoder) })),
      cached: caches[0].decoder.key,
      // a comparison of sizes runs on the CPU
      encoded: gpuOnly ? undefined : greater(sizeOf(caches[0].encoder.key, 2), fromData("int32", Int32Array.of(0), [])),
    },
  };
}

/** The graph of `decoder_model_merged`: logits and caches. */
export function seq2seqGraph(
  inputs: readonly GraphValue[],
  logits: Value,
  presents: readonly LayerCache[],
  cacheDtype: ComputeDType,
): FamilyGraph {
  const outputs: Record<string, Value> = { logits: logitsOutput(logits) };
  for (const [layer, present] of presents.entries()) {
    for (const side of ["decoder", "encoder"] as const) {
      outputs[`present.${layer}.${side}.key`] = cast(present[side].key, cacheDtype);
      outputs[`present.${layer}.${side}.value`] = cast(present[side].value, cacheDtype);
    }
  }
  return { inputs, outputs };
}

export interface CachedHeads {
  readonly heads: number;
  readonly headDim: number;
  /** Scores are multiplied by it; default 1 / sqrt(headDim). */
  readonly scale?: number;
}

/**
 * Attention of the new tokens over the cache and themselves: query, key, value [batch, sequence, heads · headDim], bias
 * [1, 1 or heads, sequence, total] → the query's shape.
 */
export function attendPast(
  module: Module,
  { query, key, value }: QueryKeyValue,
  past: KeyValues | undefined,
  { heads, headDim, scale = 1 / Math.sqrt(headDim), scoreBias }: CachedHeads & { readonly scoreBias: Value },
): { output: Value; present: KeyValues } {
  const byHead = (flat: Value) => transpose(splitHeads(flat, heads, headDim), [0, 2, 1, 3]);
  const extend = (before: Value | undefined, now: Value) =>
    before === undefined ? byHead(now) : concat([before, byHead(now)], 2);
  if (module.fused.has("MultiHeadAttention") && past !== undefined) {
    const options = { heads, scale, attentionBias: scoreBias, pastKey: past.key, pastValue: past.value };
    const { output, presentKey, presentValue } = multiHeadAttention(query, key, value, options);
    return { output, present: { key: presentKey as Value, value: presentValue as Value } };
  }
  const present = { key: extend(past?.key, key), value: extend(past?.value, value) };
  return { output: attendHeads(byHead(query), present, { heads, headDim, scale, bias: scoreBias }), present };
}

/**
 * Attention to the encoder: query [batch, sequence, heads · headDim] → the same shape. `project` makes keys or values
 * [batch, tokens, heads · headDim] of encoder states.
 *
 * One graph serves the first step and all others: only states that the cache does not hold yet are projected, all of them
 * or none. What is given back as present is that new part, so it is empty after the first step, as in optimum's exports;
 * transformers.js keeps the first one. Which of both is read is chosen by a branch, so that the cache is not copied.
 */
export function attendEncoder(
  module: Module,
  query: Value,
  decoder: Seq2SeqDecoder,
  layer: number,
  project: (states: Value, what: "key" | "value") => Value,
  heads: CachedHeads,
): { output: Value; present: KeyValues } {
  const past = decoder.past?.[layer].encoder;
  const states = past === undefined ? decoder.encoderStates : newStates(decoder.encoderStates, past.key);
  const byHead = (flat: Value) => transpose(splitHeads(flat, heads.heads, heads.headDim), [0, 2, 1, 3]);
  const present = { key: byHead(project(states, "key")), value: byHead(project(states, "value")) };
  const { encoderMask, encoded } = decoder;
  const { dtype } = module.weights;
  const fused = module.fused.has("MultiHeadAttention");
  const bias = encoderMask && (fused ? paddingBiasFor(encoderMask, dtype, query) : paddingBias(encoderMask, dtype));
  const read = (q: Value, source: KeyValues, scoreBias: Value | undefined) =>
    attendSource(fused, q, source, scoreBias, heads);
  if (past === undefined) return { output: read(query, present, bias), present };
  if (encoded === undefined) {
    const whole = { key: concat([past.key, present.key], 2), value: concat([past.value, present.value], 2) };
    return { output: read(query, whole, bias), present };
  }
  const around: Record<string, Value> = {
    query,
    pastKey: past.key,
    pastValue: past.value,
    key: present.key,
    value: present.value,
  };
  if (bias !== undefined) around.bias = bias;
  const { output } = choose(
    encoded,
    around,
    (inner) => ({ output: read(inner.query, { key: inner.pastKey, value: inner.pastValue }, inner.bias) }),
    (inner) => ({ output: read(inner.query, { key: inner.key, value: inner.value }, inner.bias) }),
  );
  return { output, present };
}

/** softmax(q · kᵀ · scale + bias) · v for a query [batch, queries, heads · headDim] and a source by head. */
function attendSource(
  fused: boolean,
  query: Value,
  source: KeyValues,
  bias: Value | undefined,
  { heads, headDim, scale = 1 / Math.sqrt(headDim) }: CachedHeads,
): Value {
  if (fused) return multiHeadAttention(query, source.key, source.value, { heads, scale, attentionBias: bias }).output;
  const queries = transpose(splitHeads(query, heads, headDim), [0, 2, 1, 3]);
  return attendHeads(queries, source, { heads, headDim, scale, bias });
}

/** Encoder states behind those that the cache holds keys of. */
function newStates(states: Value, pastKey: Value): Value {
  const starts = shapeOf(pastKey, { start: 2, end: 3 });
  return slice(states, { axes: [1], starts, ends: [Number.POSITIVE_INFINITY] });
}

function attendHeads(
  query: Value,
  { key, value }: KeyValues,
  { heads, headDim, scale, bias }: CachedHeads & { readonly scale: number; readonly bias: Value | undefined },
): Value {
  const scaled = scale === 1 ? query : mul(query, scale);
  const scores = matMul(scaled, transpose(key, [0, 1, 3, 2]));
  const mixed = matMul(softmax(bias === undefined ? scores : add(scores, bias), -1), value);
  return joinHeads(mixed, heads * headDim);
}
