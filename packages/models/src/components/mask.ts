import {
  and,
  cast,
  expand,
  greater,
  greaterOrEqual,
  lessOrEqual,
  range,
  shapeOf,
  squeeze,
  sub,
  unsqueeze,
  type Value,
  where,
} from "@loomweight/graph";
import { fromData } from "@loomweight/tensor";
import type { ComputeDType } from "../weights.ts";

/** Score bias of a decoder, [batch, 1, sequence, total]: 0 where a query sees a key, else very negative. */
export interface CausalBiasOptions {
  /** int64 [batch, total]: 1 = real, for cached and new tokens. */
  readonly attentionMask: Value;
  /** int64 [batch, sequence]: the new tokens, the last columns of the total. */
  readonly inputIds: Value;
  /** How many keys a query sees, itself included; default all before it. */
  readonly window?: number;
  readonly dtype: ComputeDType;
}

/**
 * A query sees the real keys up to its own column, with a window W only the last W of them. Columns count from the
 * first cached token on, padding included, so rows padded on the left are right at every real position.
 */
export function causalBias({ attentionMask, inputIds, window, dtype }: CausalBiasOptions): Value {
  const total = length(attentionMask);
  const keys = range(int32(0), total, int32(1)); // [total]
  const queries = unsqueeze(range(sub(total, length(inputIds)), total, int32(1)), [1]); // [sequence, 1]
  const earlier = lessOrEqual(keys, queries);
  const seen = window === undefined ? earlier : and(earlier, greater(keys, sub(queries, int32(window))));
  return biasOf(and(seen, realKeys(attentionMask)), dtype);
}

/** The same for each query of `query` [batch, queries, …], as fused operators want it: [batch, 1, queries, keys]. */
export function paddingBiasFor(query: Value, attentionMask: Value, dtype: ComputeDType): Value {
  return expand(paddingBias(attentionMask, dtype), [1, 1, shapeOf(query, { start: 1, end: 2 }), 1]);
}

/** Score bias where every query sees all keys up to its own column, [1, 1, queries, keys]: the queries are the last columns. */
export function triangularBias(queries: Value, keys: Value, dtype: ComputeDType): Value {
  const queryColumns = unsqueeze(range(sub(keys, queries), keys, int32(1)), [1]);
  return biasOf(unsqueeze(lessOrEqual(range(int32(0), keys, int32(1)), queryColumns), [0, 1]), dtype);
}

/** Score bias of an encoder, [batch, 1, 1, sequence]: every query sees every real key. */
export function paddingBias(attentionMask: Value, dtype: ComputeDType): Value {
  return biasOf(realKeys(attentionMask), dtype);
}

/** Score bias of an encoder whose queries see the real keys at most `distance` columns away: [batch, 1, sequence, sequence]. */
export function nearbyBias(attentionMask: Value, distance: number, dtype: ComputeDType): Value {
  const columns = range(int32(0), length(attentionMask), int32(1));
  const ahead = sub(columns, unsqueeze(columns, [1])); // key − query
  const near = and(lessOrEqual(ahead, int32(distance)), greaterOrEqual(ahead, int32(-distance)));
  return biasOf(and(near, realKeys(attentionMask)), dtype);
}

/** Size of axis 1, as an int32 scalar: comparisons of 64-bit integers have no kernel on GPUs. */
export function length(value: Value): Value {
  return sizeOf(value, 1);
}

/** Size of an axis, as an int32 scalar. */
export function sizeOf(value: Value, axis: number): Value {
  return cast(squeeze(shapeOf(value, { start: axis, end: axis + 1 }), [0]), "int32");
}

function realKeys(attentionMask: Value): Value {
  return unsqueeze(cast(attentionMask, "bool"), [1, 2]);
}

/**
 * The masked value is finite, so that a row whose every key is masked (a padded query) stays finite: softmax makes it
 * a mix that nothing real reads. In float16 its sum with a score must not overflow.
 */
function biasOf(seen: Value, dtype: ComputeDType): Value {
  const masked = dtype === "float16" ? -3e4 : -3.4028234663852886e38;
  const bias = where(seen, scalar(0), scalar(masked));
  return dtype === "float32" ? bias : cast(bias, dtype);
}

const scalar = (value: number) => fromData("float32", Float32Array.of(value), []);
const int32 = (value: number) => fromData("int32", Int32Array.of(value), []);
