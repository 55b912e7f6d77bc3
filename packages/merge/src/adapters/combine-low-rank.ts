import { matMul } from "@loomweight/graph";
import { createRandom } from "@loomweight/kernels";
import {
  choice,
  contiguousData,
  fraction,
  fromFloat64,
  integer,
  LoomweightError,
  type OptionValues,
  parseOptions,
  type Tensor,
  toFloat64,
} from "@loomweight/tensor";
import { electAndMerge, pruneByChance, pruneByMagnitude, weightedTotal } from "./combine-elements.ts";
import { loraLego, loraLegoOptions } from "./lora-lego.ts";
import { type LowRankUpdate, lowRankSum, requireSameLayer } from "./low-rank-sum.ts";
import { type TruncatedUpdate, truncateDelta, truncateLowRank } from "./truncate-low-rank.ts";

/** How adapters become one, by PEFT's names; `lego` is LoRA-LEGO's. */
export const combinations = [
  "linear",
  "cat",
  "svd",
  "ties",
  "ties_svd",
  "dare_linear",
  "dare_linear_svd",
  "dare_ties",
  "dare_ties_svd",
  "magnitude_prune",
  "magnitude_prune_svd",
  "lego",
] as const;
export type Combination = (typeof combinations)[number];

/** Options of a combination. */
export const combineOptions = {
  combination: choice(combinations, "cat", "how adapters become one"),
  density: fraction(1, "share of entries that pruning keeps"),
  majoritySign: choice(["total", "frequency"], "total", "sign elected by the sum of values, or by their number"),
  rank: integer(0, "rank of the result of a decomposition or of lego; 0: the largest of the adapters'", { min: 0 }),
  energy: fraction(1, "share of Σ σ² that a decomposition keeps at least, within the rank"),
  clamp: fraction(1, "quantile of the entries of decomposed factors that they are cut to, on both sides; 1: not cut"),
  seed: integer(0, "seed of the random masks of dare and the starts of lego", { min: 0 }),
  ...loraLegoOptions,
};
export type CombineOptions = Partial<OptionValues<typeof combineOptions>>;

/** One update made of several. */
export interface CombinedUpdate extends LowRankUpdate {
  /** ‖sum of deltas − result‖ / ‖sum of deltas‖ of what a decomposition left out; undefined without one. */
  readonly relativeError?: number;
}

/**
 * Several low-rank updates of one weight as one of scaling 1. With Δ = scaling · B A and weights w:
 * - `cat`: Σ w Δ exactly, rank Σ ranks. `svd`: its best approximation of a rank, computed from the factors.
 * - `linear`: A = Σ ±√|w·scaling| A, B = Σ √|w·scaling| B, which is not Σ w Δ: products of different adapters appear.
 *   `dare_linear`, `magnitude_prune`: after dropping entries of the factors. `ties`, `dare_ties`: sign election between
 *   what is left. Factors of a lower rank are filled up with zeros.
 * - `lego`: `loraLego`; weights, above 0, say how much an adapter counts in its clusters; at most Σ ranks.
 * - `…_svd`: the same rules on the deltas themselves, then the best approximation of a rank.
 *
 * As PEFT's `add_weighted_adapter` (0.21), in float64; PEFT refuses different ranks where factors are added. Of equal
 * magnitudes the earlier are kept. Throws `SHAPE_MISMATCH`, `INVALID_OPTION`, `NOT_FINITE`.
 */
export function combineLowRank(
  updates: readonly LowRankUpdate[],
  weights: readonly number[],
  options: CombineOptions = {},
  /** Keys the random masks; the layer's name. */
  name = "",
): CombinedUpdate {
  const checked = parseOptions(combineOptions, options, "combine");
  const { combination, density, majoritySign, energy, clamp } = checked;
  const { out, in: columns } = requireSameLayer(updates);
  requireWeights(updates, weights);
  const rank = checked.rank > 0 ? checked.rank : Math.max(...updates.map(({ a }) => a.shape[0]));
  /** Drops entries of one tensor in place; of a factor before it is filled up, so that its own size counts. */
  const prune = (values: Float64Array, part: string, index: number): Float64Array => {
    if (combination.startsWith("dare")) {
      pruneByChance(values, density, createRandom(checked.seed, `${name}/${part}/${index}`));
    } else if (combination !== "linear") pruneByMagnitude(values, density);
    return values;
  };
  const join = (tensors: readonly Float64Array[], own: readonly number[]): Float64Array =>
    combination.includes("ties") ? electAndMerge(tensors, own, majoritySign) : weightedTotal(tensors, own);

  if (combination === "lego") return clustered(updates, weights, checked, rank);
  if (combination === "cat") return lowRankSum(updates, weights);
  if (combination === "svd") return clamped(truncateLowRank(lowRankSum(updates, weights), { rank, energy }), clamp);
  if (combination.endsWith("_svd")) {
    const deltas = updates.map((update, index) => prune(deltaOf(update), "delta", index));
    const delta = fromFloat64(join(deltas, weights), [out, columns]);
    return clamped(truncateDelta(delta, { rank, energy }, checked.seed), clamp);
  }
  const width = Math.max(...updates.map(({ a }) => a.shape[0]));
  const roots = updates.map(({ scaling }, index) => Math.sqrt(Math.abs(weights[index] * scaling)));
  const signs = updates.map(({ scaling }, index) => (weights[index] * scaling < 0 ? -1 : 1));
  const a = join(
    updates.map((each, index) => padded(prune(copyOf(each.a), "A", index), each.a.shape, [width, columns])),
    roots.map((root, index) => root * signs[index]),
  );
  const b = join(
    updates.map((each, index) => padded(prune(copyOf(each.b), "B", index), each.b.shape, [out, width])),
    roots,
  );
  return { a: fromFloat64(a, [width, columns]), b: fromFloat64(b, [out, width]), scaling: 1 };
}

/** Without what only LoRA-LEGO says; a layer that few adapters change has no more units than theirs. */
function clustered(
  updates: readonly LowRankUpdate[],
  weights: readonly number[],
  checked: OptionValues<typeof combineOptions>,
  rank: number,
): CombinedUpdate {
  const units = updates.reduce((sum, { a }) => sum + a.shape[0], 0);
  const own = Object.fromEntries(
    Object.keys(loraLegoOptions).map((name) => [name, checked[name as keyof typeof loraLegoOptions]]),
  );
  const { a, b, scaling } = loraLego(updates, { ...own, rank: Math.min(rank, units), seed: checked.seed, weights });
  return { a, b, scaling };
}

/**
 * Entries of both factors cut to ± their common quantile, as kohya's tools and PEFT do against outliers. Which entries
 * are cut depends on the signs of singular vectors, which are arbitrary: here the largest of each of U is positive.
 */
function clamped(update: TruncatedUpdate, quantile: number): TruncatedUpdate {
  if (quantile === 1) return update;
  const [a, b] = [toFloat64(update.a), toFloat64(update.b)];
  const sorted = joined(b, a).sort();
  const at = quantile * (sorted.length - 1);
  const [low, high] = [sorted[Math.floor(at)], sorted[Math.ceil(at)]];
  const bound = low + (at - Math.floor(at)) * (high - low);
  const cut = (values: Float64Array, { shape }: Tensor) =>
    fromFloat64(
      values.map((value) => Math.min(bound, Math.max(-bound, value))),
      shape,
    );
  return { ...update, a: cut(a, update.a), b: cut(b, update.b) };
}

function requireWeights(updates: readonly LowRankUpdate[], weights: readonly number[]): void {
  if (updates.length === 0 || updates.length !== weights.length || !weights.every(Number.isFinite)) {
    throw new LoomweightError({
      code: "INVALID_OPTION",
      problem: "one finite weight is needed for each update",
      option: "weights",
      expected: `${Math.max(1, updates.length)} numbers`,
      found: `${weights.length}: ${weights.join(", ").slice(0, 100)}`,
    });
  }
}

/** scaling · B A, row-major [out, in]. */
function deltaOf({ a, b, scaling }: LowRankUpdate): Float64Array {
  const scaled = fromFloat64(
    toFloat64(b).map((value) => value * scaling),
    b.shape,
  );
  return contiguousData(matMul(scaled, fromFloat64(toFloat64(a), a.shape)) as typeof scaled) as Float64Array;
}

function joined(a: Float64Array, b: Float64Array): Float64Array {
  const both = new Float64Array(a.length + b.length);
  both.set(a);
  both.set(b, a.length);
  return both;
}

function copyOf(tensor: Tensor): Float64Array {
  return toFloat64(tensor).slice();
}

/** A matrix within a larger one of zeros. */
function padded(values: Float64Array, from: readonly number[], to: readonly number[]): Float64Array {
  const [[rows, columns], [height, width]] = [from, to];
  if (rows === height && columns === width) return values;
  const whole = new Float64Array(height * width);
  for (let row = 0; row < rows; row++) whole.set(values.subarray(row * columns, (row + 1) * columns), row * width);
  return whole;
}
