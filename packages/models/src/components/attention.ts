import {
  add,
  concat,
  groupQueryAttention,
  matMul,
  mul,
  multiHeadAttention,
  reshape,
  softmax,
  split,
  transpose,
  unsqueeze,
  type Value,
} from "@loomweight/graph";
import type { DecoderInputs, KeyValues } from "./decoder.ts";
import { flatHeads } from "./flat-heads.ts";
import { softCapped } from "./heads.ts";
import { linear, packedLinear } from "./linear.ts";
import { paddingBias, paddingBiasFor } from "./mask.ts";
import type { Module } from "./module.ts";
import { type Rotation, rotate } from "./rope.ts";

/** A norm of heads [batch, sequence, heads, headDim]. */
export type HeadNorm = (module: Module, name: "q_norm" | "k_norm", heads: Value) => Value;

export interface CachedAttentionOptions extends HeadSizes {
  readonly hiddenSize: number;
  /** Bias on q_proj, k_proj, v_proj. */
  readonly inputBias: boolean;
  /** Bias on o_proj. */
  readonly outputBias: boolean;
  readonly layer: number;
  /** Norm of queries and keys before they turn: weights q_norm, k_norm. */
  readonly headNorm?: HeadNorm;
  /** Scores are multiplied by it; default 1 / sqrt(headDim). */
  readonly scale?: number;
  /** Scores are bent into ±softCap before the mask; default not. */
  readonly softCap?: number;
  /** In half precision, multiply queries by the scale before they meet keys: scores without it leave the range. Default false. */
  readonly scaleFirst?: boolean;
}

/** Result of attention with a cache: [batch, sequence, …], and the keys and values of all tokens so far. */
export interface Attended {
  readonly output: Value;
  readonly present: KeyValues;
}

/**
 * Causal self-attention with rotary positions (where there is a rotation), grouped queries and a cache: x [batch,
 * sequence, hidden] → the same shape. Query head h reads key/value head h · kvHeads / heads.
 * Ainslie et al. 2023, arXiv:2305.13245. Weights q_proj, k_proj, v_proj, o_proj.
 */
export function cachedSelfAttention(
  module: Module,
  x: Value,
  decoder: DecoderInputs,
  rotation: Rotation | undefined,
  options: CachedAttentionOptions,
): Attended {
  const { hiddenSize, heads, headDim, outputBias } = options;
  const { output: mixed, present } = attendProjected(module, x, decoder, rotation, options);
  const shape = { inFeatures: heads * headDim, outFeatures: hiddenSize, bias: outputBias };
  return { output: linear(module, "o_proj", mixed, shape), present };
}

export interface AttendProjectedOptions extends AttendPackedOptions {
  readonly hiddenSize: number;
  /** Bias on q_proj, k_proj, v_proj. */
  readonly inputBias: boolean;
}

/** The same without the last projection: x [batch, sequence, hidden] → [batch, sequence, heads · headDim]. */
export function attendProjected(
  module: Module,
  x: Value,
  decoder: DecoderInputs,
  rotation: Rotation | undefined,
  options: AttendProjectedOptions,
): Attended {
  const { heads, kvHeads, headDim } = options;
  if (module.packs) return attendPacked(module, packedProjection(module, x, options), decoder, rotation, options);
  const [query, key, value] = projections(module, x, options);
  const apart = {
    query: splitHeads(query, heads, headDim),
    key: splitHeads(key, kvHeads, headDim),
    value: splitHeads(value, kvHeads, headDim),
  };
  return attendCached(module, turnedHeads(module, apart, rotation, options.headNorm), decoder, options);
}

interface ProjectionOptions extends HeadSizes {
  readonly hiddenSize: number;
  readonly inputBias: boolean;
}

/** x [batch, sequence, hidden] → queries, keys and values [batch, sequence, count · headDim] by q_proj, k_proj, v_proj: by one product or three. */
export function projections(
  module: Module,
  x: Value,
  options: ProjectionOptions,
): readonly [query: Value, key: Value, value: Value] {
  const parts = projectionParts(options);
  if (module.packs) {
    const widths = parts.map(({ outFeatures }) => outFeatures);
    return split(packedProjection(module, x, options), widths, -1) as [Value, Value, Value];
  }
  const { hiddenSize: inFeatures, inputBias: bias } = options;
  const project = ({ name, outFeatures }: { name: string; outFeatures: number }) =>
    linear(module, name, x, { inFeatures, outFeatures, bias });
  return parts.map(project) as [Value, Value, Value];
}

/** All three side by side, by one product whose weight is "qkv_proj": [batch, sequence, (heads + 2 · kvHeads) · headDim]. */
function packedProjection(module: Module, x: Value, options: ProjectionOptions): Value {
  const { hiddenSize: inFeatures, inputBias: bias } = options;
  return packedLinear(module, "qkv_proj", x, { inFeatures, parts: projectionParts(options), bias });
}

function projectionParts({ heads, kvHeads, headDim }: HeadSizes): readonly { name: string; outFeatures: number }[] {
  return [
    { name: "q_proj", outFeatures: heads * headDim },
    { name: "k_proj", outFeatures: kvHeads * headDim },
    { name: "v_proj", outFeatures: kvHeads * headDim },
  ];
}

export interface AttendPackedOptions extends AttendCachedOptions {
  readonly headNorm?: HeadNorm;
}

/**
 * Attention over the cache and the new tokens, whose queries, keys and values lie side by side, not yet turned: packed
 * [batch, sequence, (heads + 2 · kvHeads) · headDim] → [batch, sequence, heads · headDim]. GroupQueryAttention takes
 * them apart where nothing turns, and turns them where all devices can; else they are split.
 */
export function attendPacked(
  module: Module,
  packed: Value,
  decoder: DecoderInputs,
  rotation: Rotation | undefined,
  options: AttendPackedOptions,
): Attended {
  const { layer, heads, kvHeads, headDim, headNorm } = options;
  const past = decoder.past?.[layer];
  if (past !== undefined && headNorm === undefined && takesPacked(module, decoder, rotation, options)) {
    return groupQuery({ query: packed }, past, decoder, options, rotation?.caches);
  }
  const [query, key, value] = split(packed, [heads * headDim, kvHeads * headDim, kvHeads * headDim], -1);
  const apart = {
    query: splitHeads(query, heads, headDim),
    key: splitHeads(key, kvHeads, headDim),
    value: splitHeads(value, kvHeads, headDim),
  };
  return attendCached(module, turnedHeads(module, apart, rotation, headNorm), decoder, options);
}

/** Whether GroupQueryAttention computes a layer from packed queries, keys and values that have not turned. */
function takesPacked(
  module: Module,
  { batchSize }: Pick<DecoderInputs, "batchSize">,
  rotation: Rotation | undefined,
  { headDim, softCap, scaleFirst = false }: AttendCachedOptions,
): boolean {
  const { fused, weights } = module;
  if (!fused.has("GroupQueryAttention") || softCap !== undefined || headDim % 8 !== 0) return false;
  if (scaleFirst && weights.dtype === "float16") return false;
  if (rotation === undefined) return true;
  // its own rotation is for heads that 16 divides, and turns parts of them that 16 divides, too
  const fits = headDim % 16 === 0 && rotation.size % 16 === 0 && rotation.caches !== undefined;
  return fits && batchSize === 1 && fused.has("GroupQueryAttention position_ids");
}

/** Queries and keys normed and turned. */
function turnedHeads(
  module: Module,
  { query, key, value }: QueryKeyValue,
  rotation: Rotation | undefined,
  headNorm: HeadNorm = (_, __, heads) => heads,
): QueryKeyValue {
  const turn = (heads: Value) => (rotation === undefined ? heads : rotate(heads, rotation));
  return { query: turn(headNorm(module, "q_norm", query)), key: turn(headNorm(module, "k_norm", key)), value };
}

/** [batch, sequence, heads · headDim] → [batch, sequence, heads, headDim] */
export function splitHeads(x: Value, heads: number, headDim: number): Value {
  return reshape(x, [0, 0, heads, headDim]);
}

export interface QueryKeyValue {
  readonly query: Value;
  readonly key: Value;
  readonly value: Value;
}

interface HeadSizes {
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
}

export interface AttendCachedOptions extends HeadSizes {
  readonly layer: number;
  readonly scale?: number;
  readonly softCap?: number;
  readonly scaleFirst?: boolean;
}

/**
 * Attention over the cache and the new tokens: query [batch, sequence, heads, headDim], key and value [batch, sequence,
 * kvHeads, headDim], already turned → [batch, sequence, heads · headDim].
 */
export function attendCached(
  module: Module,
  { query, key, value }: QueryKeyValue,
  decoder: DecoderInputs,
  options: AttendCachedOptions,
): Attended {
  const { layer, scale = 1 / Math.sqrt(options.headDim), softCap } = options;
  const past = decoder.past?.[layer];
  // the fused operator is for caches and takes head sizes that 8 divides; not every provider's bends scores before it adds the bias
  const fits = past !== undefined && softCap === undefined && options.headDim % 8 === 0;
  return !fits || !module.fused.has("GroupQueryAttention")
    ? attendStandard(query, key, value, past, decoder.biases[layer], { ...options, scale, softCap })
    : attendFused(module, { query, key, value }, past, decoder, { ...options, scale });
}

/** softmax(cap(q · kᵀ · scale) + bias) · v in standard operators; q, k, v [batch, sequence, heads, headDim]. */
function attendStandard(
  query: Value,
  key: Value,
  value: Value,
  past: KeyValues | undefined,
  bias: Value,
  { heads, kvHeads, headDim, scale, softCap }: HeadSizes & { scale: number; softCap: number | undefined },
): Attended {
  const extend = (before: Value | undefined, now: Value) => {
    const byHead = transpose(now, [0, 2, 1, 3]);
    return before === undefined ? byHead : concat([before, byHead], 2);
  };
  const present = { key: extend(past?.key, key), value: extend(past?.value, value) };
  // Scaling the query before the product keeps float16 scores small.
  const scaled = mul(query, scale);
  if (heads === kvHeads) {
    const scores = softCapped(matMul(transpose(scaled, [0, 2, 1, 3]), transpose(present.key, [0, 1, 3, 2])), softCap);
    const mixed = matMul(softmax(add(scores, bias), -1), present.value); // [batch, heads, sequence, headDim]
    return { output: reshape(transpose(mixed, [0, 2, 1, 3]), [0, 0, heads * headDim]), present };
  }
  // A group axis beside the key/value heads: keys and values are broadcast over it, never repeated.
  const grouped = transpose(reshape(scaled, [0, 0, kvHeads, heads / kvHeads, headDim]), [0, 2, 3, 1, 4]);
  const keys = unsqueeze(transpose(present.key, [0, 1, 3, 2]), [2]); // [batch, kvHeads, 1, headDim, total]
  const scores = softCapped(matMul(grouped, keys), softCap);
  const shares = softmax(add(scores, unsqueeze(bias, [1])), -1);
  const mixed = matMul(shares, unsqueeze(present.value, [2])); // [batch, kvHeads, group, sequence, headDim]
  return { output: reshape(transpose(mixed, [0, 3, 1, 2, 4]), [0, 0, heads * headDim]), present };
}

/** The same with onnxruntime's GroupQueryAttention. */
function attendFused(
  module: Module,
  { query, key, value }: QueryKeyValue,
  past: KeyValues,
  decoder: DecoderInputs,
  options: AttendCachedOptions & { readonly scale: number },
): Attended {
  const { heads, kvHeads, headDim, scale, scaleFirst = false } = options;
  const scaled = scaleFirst && module.weights.dtype === "float16";
  const inputs = {
    query: flatHeads(scaled ? mul(query, scale) : query, heads * headDim),
    key: flatHeads(key, kvHeads * headDim),
    value: flatHeads(value, kvHeads * headDim),
  };
  return groupQuery(inputs, past, decoder, { ...options, scale: scaled ? 1 : scale });
}

/**
 * GroupQueryAttention of query, key and value, or of all three packed, which `caches` turn. Every row is given the full length
 * and the mask as a bias: with lengths of its own, as the operator is usually wired, a row padded on the left would attend to
 * its padding.
 */
function groupQuery(
  inputs: { readonly query: Value; readonly key?: Value; readonly value?: Value },
  past: KeyValues,
  decoder: DecoderInputs,
  { heads, kvHeads, headDim, layer, scale = 1 / Math.sqrt(headDim) }: AttendCachedOptions,
  caches?: Rotation["caches"],
): Attended {
  const { output, presentKey, presentValue } = groupQueryAttention(
    {
      ...inputs,
      pastKey: past.key,
      pastValue: past.value,
      seqlensK: decoder.lastColumns,
      totalSequenceLength: decoder.total,
      cosCache: caches?.cos,
      sinCache: caches?.sin,
      positionIds: caches?.places,
      attentionBias: decoder.biases[layer],
    },
    { heads, kvHeads, scale, rotary: caches !== undefined },
  );
  return { output, present: { key: presentKey, value: presentValue } };
}

export interface EncoderAttentionOptions extends Omit<AttendOptions, "headDim"> {
  readonly hiddenSize: number;
  /** Bias on query, key, value; one flag for all, or one for each. */
  readonly bias: boolean | readonly [query: boolean, key: boolean, value: boolean];
  /** Names of the projections; default query, key, value. */
  readonly names?: readonly [query: string, key: string, value: string];
  /** What keys and values are made from; default x itself. */
  readonly source?: Value;
}

/**
 * Attention over a whole sequence: x [batch, sequence, hidden] → the same shape, before the output projection.
 * Vaswani et al. 2017, arXiv:1706.03762, §3.2.
 */
export function selfAttention(module: Module, x: Value, options: EncoderAttentionOptions): Value {
  const { hiddenSize, heads, bias, names = ["query", "key", "value"], source = x } = options;
  const [query, key, value] = names.map((name, i) => {
    const shape = { inFeatures: hiddenSize, outFeatures: hiddenSize, bias: typeof bias === "boolean" ? bias : bias[i] };
    return linear(module, name, i === 0 ? x : source, shape);
  });
  return attend(module, { query, key, value }, { ...options, headDim: hiddenSize / heads });
}

export interface AttendOptions {
  readonly heads: number;
  readonly headDim: number;
  /** Scores are multiplied by it; default 1 / sqrt(headDim). */
  readonly scale?: number;
  /** int64 [batch, keys]: 1 = real; default all. */
  readonly attentionMask?: Value;
  /** Added to the scores: [batch or 1, heads or 1, queries, keys]. */
  readonly scoreBias?: Value;
}

/** softmax(q · kᵀ · scale + bias) · v for query, key, value [batch, tokens, heads · headDim] → the query's shape. */
export function attend(module: Module, { query, key, value }: QueryKeyValue, options: AttendOptions): Value {
  const { heads, headDim, scale = 1 / Math.sqrt(headDim), attentionMask, scoreBias } = options;
  const { dtype } = module.weights;
  const sum = (a: Value | undefined, b: Value | undefined) => (a === undefined ? b : b === undefined ? a : add(a, b));
  if (module.fused.has("MultiHeadAttention")) {
    // as a bias: the operator's own padding mask is not there on WebGPU
    const padding = attentionMask && paddingBiasFor(attentionMask, dtype);
    return multiHeadAttention(query, key, value, { heads, scale, attentionBias: sum(scoreBias, padding) }).output;
  }
  const byHead = (flat: Value, perm: readonly number[]) => transpose(splitHeads(flat, heads, headDim), perm);
  const scaled = scale === 1 ? byHead(query, [0, 2, 1, 3]) : mul(byHead(query, [0, 2, 1, 3]), scale);
  const scores = matMul(scaled, byHead(key, [0, 2, 3, 1])); // [batch, heads, queries, keys]
  const bias = sum(scoreBias, attentionMask && paddingBias(attentionMask, dtype));
  const mixed = matMul(softmax(bias === undefined ? scores : add(scores, bias), -1), byHead(value, [0, 2, 1, 3]));
  return joinHeads(mixed, heads * headDim);
}

/** [batch, heads, tokens, headDim] → [batch, tokens, heads · headDim] */
export function joinHeads(x: Value, size: number): Value {
  return reshape(transpose(x, [0, 2, 1, 3]), [0, 0, size]);
}
