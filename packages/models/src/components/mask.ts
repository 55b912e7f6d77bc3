import {
  add,
  and,
  cast,
  gather,
  greater,
  greaterOrEqual,
  lessOrEqual,
  shapeOf,
  slice,
  sub,
  unsqueeze,
  type Value,
  where,
} from "@loomweight/graph";
import { fromData } from "@loomweight/tensor";
import type { ComputeDType } from "../weights.ts";
import { columnsOf, filled, maskValues } from "./columns.ts";

/** Score bias of a decoder, [batch, 1, sequence, total]: 0 where a query sees a key, else very negative. */
export interface CausalBiasOptions {
  /** int64 [batch, total]: 1 = real, for cached and new tokens. */
  readonly attentionMask: Value;
  /** A cached key or value [batch, heads, past, size], which tells how many columns are cached; left out: none. */
  readonly past?: Value;
  /** How many keys a query sees, itself included; default all before it. */
  readonly window?: number;
  readonly dtype: ComputeDType;
}

/**
 * A query sees the real keys up to its own column, with a window W only the last W of them. Columns count from the
 * first cached token on, padding included, so rows padded on the left are right at every real position.
 */
export function causalBias({ attentionMask, past, window, dtype }: CausalBiasOptions): Value {
  const keys = columnsOf(maskValues(attentionMask), 1); // [total]
  const queries = unsqueeze(past === undefined ? keys : from(keys, past), [1]); // [sequence, 1]
  const earlier = lessOrEqual(keys, queries);
  const seen = window === undefined ? earlier : and(earlier, greater(keys, sub(queries, scalar(window))));
  return biasOf(seen, dtype, visibleKeys(attentionMask, dtype));
}

/** The columns behind the cached ones. */
function from(columns: Value, past: Value): Value {
  const starts = shapeOf(past, { start: 2, end: 3 });
  return slice(columns, { axes: [0], starts, ends: [Number.POSITIVE_INFINITY] });
}

/**
 * The same repeated for each query, as fused operators want it: [batch, 1, queries, keys]. There are as many queries as axis
 * 1 of the float tensor `queries` has entries; left out, as many as keys.
 */
export function paddingBiasFor(attentionMask: Value, dtype: ComputeDType, queries?: Value): Value {
  const none = unsqueeze(filled(queries ?? maskValues(attentionMask), 1, 0), [1]);
  return inDType(add(visibleKeys(attentionMask, dtype), none), dtype);
}

/** Score bias where every query sees all keys up to its own column, [1, 1, queries, keys]; columns in float32 [queries] and [keys]. */
export function triangularBias(queries: Value, keys: Value, dtype: ComputeDType): Value {
  return biasOf(unsqueeze(lessOrEqual(keys, unsqueeze(queries, [1])), [0, 1]), dtype);
}

/** Score bias of an encoder, [batch, 1, 1, sequence]: every query sees every real key. */
export function paddingBias(attentionMask: Value, dtype: ComputeDType): Value {
  return inDType(visibleKeys(attentionMask, dtype), dtype);
}

/** The same in float32, whatever the scores are in. */
function visibleKeys(attentionMask: Value, dtype: ComputeDType): Value {
  const table = fromData("float32", Float32Array.of(masked(dtype), 0), [2]);
  return unsqueeze(gather(table, attentionMask, 0), [1, 2]);
}

/** Score bias of an encoder whose queries see the real keys at most `distance` columns away: [batch, 1, sequence, sequence]. */
export function nearbyBias(attentionMask: Value, distance: number, dtype: ComputeDType): Value {
  const columns = columnsOf(maskValues(attentionMask), 1);
  const ahead = sub(columns, unsqueeze(columns, [1])); // key − query
  const near = and(lessOrEqual(ahead, scalar(distance)), greaterOrEqual(ahead, scalar(-distance)));
  return biasOf(near, dtype, visibleKeys(attentionMask, dtype));
}

/** `visible` (0) where a query sees a key. */
function biasOf(seen: Value, dtype: ComputeDType, visible: Value = scalar(0)): Value {
  return inDType(where(seen, visible, scalar(masked(dtype))), dtype);
}

/**
 * The masked value is finite, so that a row whose every key is masked (a padded query) stays finite: softmax makes it
 * a mix that nothing real reads. In float16 its sum with a score must not overflow.
 */
function masked(dtype: ComputeDType): number {
  return dtype === "float16" ? -3e4 : -3.4028234663852886e38;
}

const inDType = (bias: Value, dtype: ComputeDType) => (dtype === "float32" ? bias : cast(bias, dtype));
const scalar = (value: number) => fromData("float32", Float32Array.of(value), []);
