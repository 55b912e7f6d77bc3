import {
  abs,
  add,
  cast,
  gather,
  greater,
  max,
  min,
  mul,
  sub,
  transpose,
  unsqueeze,
  type Value,
} from "@loomweight/graph";
import { fromData } from "@loomweight/tensor";
import { inside, type Module, weight } from "./module.ts";

export interface RelativeBiasOptions {
  readonly heads: number;
  /** Rows of the table. */
  readonly rows: number;
  /** Buckets that distances fall into; at most `rows`. */
  readonly buckets: number;
  /** Distances from here on share the last bucket. */
  readonly maxDistance: number;
  /** Whether later keys have buckets of their own (half of all); otherwise they count as distance 0. */
  readonly bothWays: boolean;
  /** Columns of queries and keys in float32, [queries] and [keys]. */
  readonly queries: Value;
  readonly keys: Value;
}

/**
 * A learned score bias by distance: the table `name` [rows, heads] → [1, heads, queries, keys]. Near distances have a
 * bucket each, farther ones share buckets that grow like their logarithm.
 * Source: Raffel et al. 2019, arXiv:1910.10683, §2.1.
 */
export function relativeBias(parent: Module, name: string, options: RelativeBiasOptions): Value {
  const { heads, rows, buckets, maxDistance, bothWays, queries, keys } = options;
  return inside(parent, name, (module) => {
    const behind = sub(unsqueeze(queries, [1]), keys); // [queries, keys]: how far a key lies before the query
    const side = bothWays ? buckets / 2 : buckets;
    const distance = bothWays ? abs(behind) : max(behind, scalar(0));
    const bucketOf = fromData("int32", distanceBuckets(side, maxDistance), [maxDistance + 1]);
    const near = gather(bucketOf, cast(min(distance, scalar(maxDistance)), "int32"), 0);
    const bucket = bothWays ? add(near, mul(cast(greater(scalar(0), behind), "int32"), int32(side))) : near;
    const values = gather(weight(module, "weight", [rows, heads]), bucket, 0); // [queries, keys, heads]
    return unsqueeze(transpose(values, [2, 0, 1]), [0]);
  });
}

/**
 * The bucket of each distance 0 … maxDistance. Rounded to float32 at each step, as the reference does: at whole powers a
 * last bit decides.
 */
export function distanceBuckets(buckets: number, maxDistance: number): Int32Array {
  const exact = Math.floor(buckets / 2);
  const range = Math.fround(Math.log(maxDistance / exact));
  return Int32Array.from({ length: maxDistance + 1 }, (_, distance) => {
    if (distance < exact) return distance;
    const log = Math.fround(Math.log(Math.fround(distance / exact)));
    const past = Math.fround(Math.fround(log / range) * (buckets - exact));
    return Math.min(exact + Math.trunc(past), buckets - 1);
  });
}

const scalar = (value: number) => fromData("float32", Float32Array.of(value), []);
const int32 = (value: number) => fromData("int32", Int32Array.of(value), []);
