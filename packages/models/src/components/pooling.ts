import {
  add,
  cast,
  concat,
  div,
  gatherND,
  max,
  mul,
  range,
  reduceMax,
  reduceSum,
  sqrt,
  unsqueeze,
  type Value,
  where,
} from "@loomweight/graph";
import { fromData } from "@loomweight/tensor";
import { firstToken } from "./heads.ts";
import { length } from "./mask.ts";

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
  max: (states, mask) => reduceMax(where(unsqueeze(cast(mask, "bool"), [2]), states, scalar(-1e9)), [1], false),
  mean: (states, mask) => div(sumOf(states, cast(mask, "float32")), realCount(cast(mask, "float32"))),
  mean_sqrt_len: (states, mask) => div(sumOf(states, cast(mask, "float32")), sqrt(realCount(cast(mask, "float32")))),
  weightedmean(states, mask) {
    const weights = mul(cast(mask, "float32"), cast(add(columnsOf(mask), int32(1)), "float32"));
    return div(sumOf(states, weights), realCount(weights));
  },
  lasttoken(states, mask) {
    const last = reduceMax(mul(cast(mask, "int32"), columnsOf(mask)), [1], true);
    return gatherND(states, cast(last, "int64"), 1);
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

/** 0, 1, 2, … of the columns of a mask. */
function columnsOf(mask: Value): Value {
  return range(int32(0), length(mask), int32(1));
}

const scalar = (value: number) => fromData("float32", Float32Array.of(value), []);
const int32 = (value: number) => fromData("int32", Int32Array.of(value), []);
