import { cast, cumSum, expand, gather, shapeOf, squeeze, type Value } from "@loomweight/graph";
import { fromData } from "@loomweight/tensor";

// Token ids, masks and positions come as int64, in which GPUs do not compute: their WebGPU kernels take such values as indices only.
// Everything here therefore looks them up in small tables and counts in float32, which holds whole numbers up to 2^24.

/** 1, 2, …, n in float32 [n], where n is the size of an axis of the float tensor `x`. */
export function columnsOf(x: Value, axis: number): Value {
  return cumSum(filled(x, axis, 1), 0);
}

/** `value` n times in float32 [n], where n is the size of an axis of the float tensor `x`. */
export function filled(x: Value, axis: number, value: number): Value {
  return expand(fromData("float32", Float32Array.of(value), [1]), shapeOf(x, { start: axis, end: axis + 1 }));
}

/** A mask of int64 zeros and ones in float32. */
export function maskValues(mask: Value): Value {
  return gather(fromData("float32", Float32Array.of(0, 1), [2]), mask, 0);
}

/** 1 in float32 where `test` holds for a token id below `vocabSize`, else 0: ids [...] → [...]. */
export function idsThat(ids: Value, vocabSize: number, test: (id: number) => boolean): Value {
  const table = Uint8Array.from({ length: vocabSize }, (_, id) => (test(id) ? 1 : 0));
  return cast(gather(fromData("bool", table, [vocabSize]), ids, 0), "float32");
}

/** int64 whole numbers below `count` in float32. */
export function idValues(ids: Value, count: number): Value {
  const table = Float32Array.from({ length: count }, (_, id) => id);
  return gather(fromData("float32", table, [count]), ids, 0);
}

/** Size of an axis, as an int32 scalar. */
export function sizeOf(value: Value, axis: number): Value {
  return cast(squeeze(shapeOf(value, { start: axis, end: axis + 1 }), [0]), "int32");
}
