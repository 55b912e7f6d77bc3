import {
  cast,
  concat,
  div,
  equal,
  greater,
  max,
  mul,
  reduceMax,
  reduceSum,
  sqrt,
  unsqueeze,
  type Value,
  where,
} from "@loomweight/graph";
import { fromData } from "@loomweight/tensor";
import { columnsOf, maskValues } from "./columns.ts";
import { firstToken } from "./heads.ts";

/** How the states of a text's tokens become one vector; names are those of sentence-transformers. */
export type PoolingMode = "cls" | "max" | "mean" | "mean_sqrt_len" | "weightedmean" | "lasttoken";

/** Pooling as a sentence-transformers folder states it. */
export interface Pooling {
  /** Several are joined in this order. */
  readonly modes: readonly PoolingMode[];
  /** Whether the vector is divided by its length. */
  readonly normalize: boolean;
}

/**
 * The vector of each text: states [batch, sequence, hidden] in float32 and mask int64 [batch, sequence] → [batch, modes ·
 * hidden]. Source: Reimers and Gurevych 2019, arXiv:1908.10084; sentence-transformers' Pooling and Normalize.
 */
export function pooled(states: Value, attentionMask: Value, { modes, normalize }: Pooling): Value {
  const vectors = modes.map((mode) => poolings[mode](states, attentionMask));
  const joined = vectors.length === 1 ? vectors[0] : concat(vectors, -1);
  if (!normalize) return joined;
  const size = sqrt(reduceSum(mul(joined, joined), [-1], true));
  return div(joined, max(size, scalar(1e-12)));
}

const poolings: Readonly<Record<PoolingMode, (states: Value, mask: Value) => Value>> = {
  cls: firstToken,
  max: (states, mask) =>
    reduceMax(where(greater(unsqueeze(maskValues(mask), [2]), scalar(0)), states, scalar(-1e9)), [1], false),
  mean: (states, mask) => div(sumOf(states, maskValues(mask)), realCount(maskValues(mask))),
  mean_sqrt_len: (states, mask) => div(sumOf(states, maskValues(mask)), sqrt(realCount(maskValues(mask)))),
  weightedmean(states, mask) {
    const weights = mul(maskValues(mask), columnsOf(maskValues(mask), 1));
    return div(sumOf(states, weights), realCount(weights));
  },
  lasttoken(states, mask) {
    const columns = mul(maskValues(mask), columnsOf(maskValues(mask), 1));
    return sumOf(states, cast(equal(columns, reduceMax(columns, [1], true)), "float32"));
  },
};

/** Σ weight · state: [batch, sequence, hidden], [batch, sequence] → [batch, hidden]. */
function sumOf(states: Value, weights: Value): Value {
  return reduceSum(mul(states, unsqueeze(weights, [2])), [1], false);
}

/** Σ weights, at least 1e-9: [batch, 1]. */
function realCount(weights: Value): Value {
  return max(reduceSum(weights, [1], true), scalar(1e-9));
}

const scalar = (value: number) => fromData("float32", Float32Array.of(value), []);
