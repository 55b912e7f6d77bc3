import { kMeans } from "@loomweight/linalg";
import {
  boolean,
  choice,
  fromFloat64,
  integer,
  invalidOption,
  LoomweightError,
  nonNegative,
  type OptionValues,
  parseOptions,
  toFloat64,
} from "@loomweight/tensor";
import { type LowRankUpdate, requireSameLayer } from "./low-rank-sum.ts";

/** Options of LoRA-LEGO beside the rank of the result. */
export const loraLegoOptions = {
  norm: choice(["linf", "l2"], "linf", "norm that clusters keep on average"),
  parameterReweight: boolean(true, "scales centroids to the mean norm of their units"),
  outputReweight: boolean(true, "scales the update by √(referenceRank / rank)"),
  referenceRank: nonNegative(0, "rank the adapters had; 0: the mean of theirs"),
  features: choice(["raw", "unit"], "raw", "units are compared as they are, or each half at length 1"),
  balance: boolean(false, "gives both halves of a unit the same length first, which leaves its update as it is"),
  restarts: integer(10, "starts of k-means", { min: 1, max: 1000 }),
  iterations: integer(300, "most rounds of a start of k-means", { min: 1 }),
};

const ownOptions = {
  ...loraLegoOptions,
  rank: integer(undefined, "rank of the result", { min: 1 }),
  seed: integer(0, "of the starts of k-means", { min: 0 }),
};

export type LoraLegoOptions = Partial<OptionValues<typeof loraLegoOptions>> & {
  /** Rank of the result, at most the sum of the adapters'. */
  readonly rank: number;
  /** Default 0. */
  readonly seed?: number;
  /** How much the units of each adapter count in clustering and centroids, above 0; default 1 each. */
  readonly weights?: readonly number[];
};

/** One update made of clusters of units. */
export interface LoraLego extends LowRankUpdate {
  /** The cluster of every unit: adapters in order, units in rank order; clusters are numbered by their first unit. */
  readonly labels: Int32Array;
  /** Units in each cluster. */
  readonly sizes: readonly number[];
  /** What each centroid was scaled by. */
  readonly factors: readonly number[];
  /** Sum of squared distances of units to their centroids, in the space they were compared in. */
  readonly inertia: number;
}

/**
 * LoRA-LEGO: low-rank updates of one weight, of any ranks, as one of rank k and scaling 1. A unit is row j of A with
 * column j of B, √scaling taken into both; all units u = (a, b) are clustered by k-means; each cluster becomes one unit,
 * its mean μ · mean‖u‖ / ‖μ‖ (averaging shortens); the update is scaled by √(r / k) on B (variance grows with rank).
 * float64. The order of adapters and units does not matter. k = Σ ranks gives √(r / k) times the sum of the updates.
 * Source: Zhao et al. 2024, arXiv:2409.16167; no code is published, choices follow two implementations of others.
 * Differs: r of mixed ranks is their mean; clusters left empty take the unit farthest from its centroid.
 * Throws `SHAPE_MISMATCH`, `INVALID_OPTION`, `NOT_FINITE`.
 */
export function loraLego(updates: readonly LowRankUpdate[], options: LoraLegoOptions): LoraLego {
  const { weights = updates.map(() => 1), ...given } = options;
  const values = parseOptions(ownOptions, given, "lora-lego");
  const { in: columns } = requireSameLayer(updates);
  requireUnitWeights(updates, weights);
  const units = disassemble(updates, weights, values.balance);
  const { rank } = values;
  if (rank > units.length) throw invalidOption({ option: "lora-lego.rank" }, rank, `at most ${units.length} units`);
  const { labels, inertia } = cluster(units, columns, values);
  const merged = reassemble(units, labels, values);
  const reference = values.referenceRank || updates.reduce((sum, { a }) => sum + a.shape[0], 0) / updates.length;
  const output = values.outputReweight ? Math.sqrt(reference / rank) : 1;
  const rows = (units[0]?.values.length ?? columns) - columns;
  const [a, b] = [new Float64Array(rank * columns), new Float64Array(rows * rank)];
  for (const [c, { centroid }] of merged.entries()) {
    a.set(centroid.subarray(0, columns), c * columns);
    for (let row = 0; row < rows; row++) b[row * rank + c] = output * centroid[columns + row];
  }
  return {
    a: fromFloat64(a, [rank, columns]),
    b: fromFloat64(b, [rows, rank]),
    scaling: 1,
    labels,
    sizes: merged.map(({ size }) => size),
    factors: merged.map(({ factor }) => factor),
    inertia,
  };
}

/** A row of A and its column of B, [in + out]. */
interface Unit {
  readonly values: Float64Array;
  readonly weight: number;
  /** Of its adapter; a negative scaling is kept by its column of B. */
  readonly place: number;
}

function disassemble(updates: readonly LowRankUpdate[], weights: readonly number[], balance: boolean): Unit[] {
  const units: Unit[] = [];
  for (const [index, { a, b, scaling }] of updates.entries()) {
    const [rank, columns] = a.shape;
    const rows = b.shape[0];
    const [left, right] = [toFloat64(a), toFloat64(b)];
    const root = Math.sqrt(Math.abs(scaling));
    for (let j = 0; j < rank; j++) {
      const values = new Float64Array(columns + rows);
      for (let i = 0; i < columns; i++) values[i] = root * left[j * columns + i];
      for (let i = 0; i < rows; i++) values[columns + i] = root * Math.sign(scaling) * right[i * rank + j];
      requireFinite(values, index, j);
      if (balance) balanceHalves(values, columns);
      units.push({ values, weight: weights[index], place: units.length });
    }
  }
  return units;
}

function requireFinite(values: Float64Array, adapter: number, unit: number): void {
  const bad = values.find((value) => !Number.isFinite(value));
  if (bad === undefined) return;
  throw new LoomweightError({
    code: "NOT_FINITE",
    problem: `lora-lego: unit ${unit} of update ${adapter} holds a value that is not a finite number`,
    found: `${bad}`,
  });
}

/** Both halves at the geometric mean of their lengths; one of length 0 has no update to keep. */
function balanceHalves(values: Float64Array, columns: number): void {
  const [a, b] = [length(values.subarray(0, columns)), length(values.subarray(columns))];
  if (a === 0 || b === 0) return;
  const ratio = Math.sqrt(b / a);
  for (let i = 0; i < values.length; i++) values[i] *= i < columns ? ratio : 1 / ratio;
}

/** Labels of the units in their own order, whatever order k-means saw them in. */
function cluster(
  units: readonly Unit[],
  columns: number,
  { rank, features, restarts, iterations, seed }: OptionValues<typeof ownOptions>,
): { labels: Int32Array; inertia: number } {
  const labels = new Int32Array(units.length);
  if (rank === units.length) return { labels: labels.map((_, i) => i), inertia: 0 };
  // By weight and values, so that a random start means the same whatever order adapters and ranks come in.
  const sorted = [...units].sort((x, y) => x.weight - y.weight || compare(x.values, y.values));
  const points = sorted.map(({ values }) => (features === "unit" ? unitHalves(values, columns) : values));
  const width = points[0].length;
  const all = new Float64Array(points.length * width);
  for (const [i, point] of points.entries()) all.set(point, i * width);
  const found = kMeans(fromFloat64(all, [points.length, width]), {
    clusters: rank,
    weights: sorted.map(({ weight }) => weight),
    restarts,
    iterations,
    seed,
    tolerance: 0,
  });
  fillEmpty(found.labels, points, toFloat64(found.centroids), rank);
  for (const [i, { place }] of sorted.entries()) labels[place] = found.labels[i];
  const numbers = new Map<number, number>();
  for (const label of labels) if (!numbers.has(label)) numbers.set(label, numbers.size);
  return { labels: labels.map((label) => numbers.get(label) as number), inertia: found.inertia };
}

/** Fewer different units than clusters leave some empty: each takes a unit from where it is farthest from its centroid. */
function fillEmpty(labels: Int32Array, points: readonly Float64Array[], centroids: Float64Array, rank: number): void {
  const sizes = new Int32Array(rank);
  for (const label of labels) sizes[label]++;
  for (let empty = sizes.indexOf(0); empty >= 0; empty = sizes.indexOf(0)) {
    let far = -1;
    let most = -1;
    for (const [i, point] of points.entries()) {
      if (sizes[labels[i]] < 2) continue;
      const at = labels[i] * point.length;
      const distance = point.reduce((sum, value, k) => sum + (value - centroids[at + k]) ** 2, 0);
      if (distance > most) [far, most] = [i, distance];
    }
    sizes[labels[far]]--;
    sizes[empty]++;
    labels[far] = empty;
  }
}

/** The mean of every cluster's units, at their mean norm. */
function reassemble(
  units: readonly Unit[],
  labels: Int32Array,
  { rank, norm, parameterReweight }: OptionValues<typeof ownOptions>,
): { centroid: Float64Array; factor: number; size: number }[] {
  const measure = norm === "l2" ? length : largest;
  return Array.from({ length: rank }, (_, c) => {
    const own = units.filter((_, i) => labels[i] === c);
    const total = own.reduce((sum, { weight }) => sum + weight, 0);
    const centroid = new Float64Array(units[0].values.length);
    let mean = 0;
    for (const { values, weight } of own) {
      mean += (weight / total) * measure(values);
      for (let i = 0; i < centroid.length; i++) centroid[i] += (weight / total) * values[i];
    }
    const size = measure(centroid);
    const factor = parameterReweight && own.length > 1 && size >= 1e-12 ? mean / size : 1;
    return { centroid: centroid.map((value) => value * factor), factor, size: own.length };
  });
}

const length = (values: Float64Array): number => Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));
const largest = (values: Float64Array): number => values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);

function unitHalves(values: Float64Array, columns: number): Float64Array {
  const lengths = [length(values.subarray(0, columns)), length(values.subarray(columns))].map((each) => each || 1);
  return values.map((value, i) => value / lengths[i < columns ? 0 : 1]);
}

function compare(x: Float64Array, y: Float64Array): number {
  for (let i = 0; i < x.length; i++) if (x[i] !== y[i]) return x[i] - y[i];
  return 0;
}

function requireUnitWeights(updates: readonly LowRankUpdate[], weights: readonly number[]): void {
  const good = weights.length === updates.length && weights.every((each) => each > 0 && Number.isFinite(each));
  if (good && updates.length > 0) return;
  const expected = `${Math.max(1, updates.length)} numbers above 0, one for each update`;
  throw invalidOption({ option: "lora-lego.weights" }, weights.join(", "), expected);
}
