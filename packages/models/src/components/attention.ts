import {
  add,
  cast,
  concat,
  groupQueryAttention,
  matMul,
  mul,
  multiHeadAttention,
  reshape,
  softmax,
  transpose,
  unsqueeze,
  type Value,
} from "@loomweight/graph";
import type { DecoderInputs, KeyValues } from "./decoder.ts";
import { linear } from "./linear.ts";
import { paddingBias } from "./mask.ts";
import type { Module } from "./module.ts";
import { type Rotation, rotate } from "./rope.ts";

export interface CachedAttentionOptions {
  readonly hiddenSize: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  /** Bias on q_proj, k_proj, v_proj. */
  readonly inputBias: boolean;
  /** Bias on o_proj. */
  readonly outputBias: boolean;
  readonly layer: number;
}

/**
 * Causal self-attention with rotary positions, grouped queries and a cache: x [batch, sequence, hidden] → the same shape,
 * and the keys and values of all tokens so far. Query head h reads key/value head h · kvHeads / heads.
 * Ainslie et al. 2023, arXiv:2305.13245. Weights q_proj, k_proj, v_proj, o_proj.
 */
export function cachedSelfAttention(
  module: Module,
  x: Value,
  decoder: DecoderInputs,
  rotation: Rotation,
  options: CachedAttentionOptions,
): { readonly output: Value; readonly present: KeyValues } {
  const { hiddenSize, heads, kvHeads, headDim, inputBias, outputBias, layer } = options;
  const project = (name: string, count: number) =>
    linear(module, name, x, { inFeatures: hiddenSize, outFeatures: count * headDim, bias: inputBias });
  const split = (value: Value, count: number) => reshape(value, [0, 0, count, headDim]); // [batch, sequence, count, headDim]

  const query = rotate(split(project("q_proj", heads), heads), rotation);
  const key = rotate(split(project("k_proj", kvHeads), kvHeads), rotation);
  const value = split(project("v_proj", kvHeads), kvHeads);
  const past = decoder.past?.[layer];
  const sizes = { heads, kvHeads, headDim };
  const { mixed, present } =
    module.fuse === "none"
      ? attendStandard(query, key, value, past, decoder.biases[layer], sizes)
      : attendFused(query, key, value, past, decoder, layer, sizes);
  const output = linear(module, "o_proj", mixed, {
    inFeatures: heads * headDim,
    outFeatures: hiddenSize,
    bias: outputBias,
  });
  return { output, present };
}

interface HeadSizes {
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
}

/** softmax(q · kᵀ / sqrt(headDim) + bias) · v in standard operators; q, k, v [batch, sequence, heads, headDim]. */
function attendStandard(
  query: Value,
  key: Value,
  value: Value,
  past: KeyValues | undefined,
  bias: Value,
  { heads, kvHeads, headDim }: HeadSizes,
): { mixed: Value; present: KeyValues } {
  const extend = (before: Value | undefined, now: Value) => {
    const byHead = transpose(now, [0, 2, 1, 3]);
    return before === undefined ? byHead : concat([before, byHead], 2);
  };
  const present = { key: extend(past?.key, key), value: extend(past?.value, value) };
  // Scaling the query before the product keeps float16 scores small.
  const scaled = mul(query, 1 / Math.sqrt(headDim));
  if (heads === kvHeads) {
    const scores = matMul(transpose(scaled, [0, 2, 1, 3]), transpose(present.key, [0, 1, 3, 2]));
    const mixed = matMul(softmax(add(scores, bias), -1), present.value); // [batch, heads, sequence, headDim]
    return { mixed: reshape(transpose(mixed, [0, 2, 1, 3]), [0, 0, heads * headDim]), present };
  }
  // A group axis beside the key/value heads: keys and values are broadcast over it, never repeated.
  const grouped = transpose(reshape(scaled, [0, 0, kvHeads, heads / kvHeads, headDim]), [0, 2, 3, 1, 4]);
  const keys = unsqueeze(transpose(present.key, [0, 1, 3, 2]), [2]); // [batch, kvHeads, 1, headDim, total]
  const shares = softmax(add(matMul(grouped, keys), unsqueeze(bias, [1])), -1);
  const mixed = matMul(shares, unsqueeze(present.value, [2])); // [batch, kvHeads, group, sequence, headDim]
  return { mixed: reshape(transpose(mixed, [0, 3, 1, 2, 4]), [0, 0, heads * headDim]), present };
}

/**
 * The same with onnxruntime's GroupQueryAttention. Every row is given the full length and the mask as a bias: with
 * lengths of its own, as the operator is usually wired, a row padded on the left would attend to its padding.
 */
function attendFused(
  query: Value,
  key: Value,
  value: Value,
  past: KeyValues | undefined,
  decoder: DecoderInputs,
  layer: number,
  { heads, kvHeads, headDim }: HeadSizes,
): { mixed: Value; present: KeyValues } {
  const { output, presentKey, presentValue } = groupQueryAttention(
    {
      query: reshape(query, [0, 0, heads * headDim]),
      key: reshape(key, [0, 0, kvHeads * headDim]),
      value: reshape(value, [0, 0, kvHeads * headDim]),
      pastKey: past?.key,
      pastValue: past?.value,
      seqlensK: decoder.lastColumns,
      totalSequenceLength: decoder.total,
      attentionBias: decoder.biases[layer],
    },
    { heads, kvHeads, scale: 1 / Math.sqrt(headDim) },
  );
  return { mixed: output, present: { key: presentKey, value: presentValue } };
}

export interface EncoderAttentionOptions {
  readonly hiddenSize: number;
  readonly heads: number;
  /** Bias on query, key, value. */
  readonly bias: boolean;
  /** int64 [batch, sequence]: 1 = real; default all. */
  readonly attentionMask?: Value;
}

/**
 * Self-attention over a whole sequence: x [batch, sequence, hidden] → the same shape, before the output projection.
 * Vaswani et al. 2017, arXiv:1706.03762, §3.2. Weights query, key, value.
 */
export function selfAttention(module: Module, x: Value, options: EncoderAttentionOptions): Value {
  const { hiddenSize, heads, bias, attentionMask } = options;
  const headDim = hiddenSize / heads;
  const project = (name: string) => linear(module, name, x, { inFeatures: hiddenSize, outFeatures: hiddenSize, bias });
  const [query, key, value] = [project("query"), project("key"), project("value")];
  if (module.fuse === "onnxruntime") {
    const keyPaddingMask = attentionMask === undefined ? undefined : cast(attentionMask, "int32");
    return multiHeadAttention(query, key, value, { heads, keyPaddingMask }).output;
  }
  const byHead = (flat: Value, perm: readonly number[]) => transpose(reshape(flat, [0, 0, heads, headDim]), perm);
  const scaled = mul(byHead(query, [0, 2, 1, 3]), 1 / Math.sqrt(headDim));
  const scores = matMul(scaled, byHead(key, [0, 2, 3, 1])); // [batch, heads, sequence, sequence]
  const biased = attentionMask === undefined ? scores : add(scores, paddingBias(attentionMask, module.weights.dtype));
  const mixed = matMul(softmax(biased, -1), byHead(value, [0, 2, 1, 3]));
  return reshape(transpose(mixed, [0, 2, 1, 3]), [0, 0, hiddenSize]);
}
