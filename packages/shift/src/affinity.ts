import { LoomweightError } from "@loomweight/tensor";
import { type Rows, unitRows } from "./rows.ts";

/** How alike samples of a batch are: the `k` nearest, a Gaussian of their distance, or the cosine. */
export type AffinityKind = "knn" | "rbf" | "linear";

export interface AffinityOptions {
  readonly affinity: AffinityKind;
  /** Neighbours; of `rbf` the sample itself is the first. */
  readonly k: number;
  /** (W + Wᵀ) / 2. */
  readonly symmetrize: boolean;
}

/** W [N, N] of features [N, D], which are brought to unit length first. */
export function affinityMatrix(features: Rows, { affinity, k, symmetrize }: AffinityOptions): Float64Array {
  const unit = unitRows(features);
  const n = unit.rows;
  const build = { knn: nearestNeighbours, rbf: gaussian, linear: cosine }[affinity];
  const w = build(unit, k);
  if (!symmetrize) return w;
  const out = new Float64Array(n * n);
  for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) out[i * n + j] = (w[i * n + j] + w[j * n + i]) / 2;
  return out;
}

function cosine({ rows: n, columns, data }: Rows): Float64Array {
  const w = new Float64Array(n * n);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j <= i; j++) {
      let dot = 0;
      for (let d = 0; d < columns; d++) dot += data[i * columns + d] * data[j * columns + d];
      w[i * n + j] = dot;
      w[j * n + i] = dot;
    }
  }
  return w;
}

/** Distances between rows, [N, N], from their differences: exact 0 for equal rows. */
export function distances({ rows: n, columns, data }: Rows): Float64Array {
  const out = new Float64Array(n * n);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < i; j++) {
      let squares = 0;
      for (let d = 0; d < columns; d++) squares += (data[i * columns + d] - data[j * columns + d]) ** 2;
      const distance = Math.sqrt(squares);
      out[i * n + j] = distance;
      out[j * n + i] = distance;
    }
  }
  return out;
}

/**
 * W[i, j] = 1 where j is one of the k nearest of i. A sample is no neighbour of its own, found by index: a twin with the
 * same features counts. Of equally near ones the first in the batch is taken.
 */
function nearestNeighbours(unit: Rows, k: number): Float64Array {
  const n = unit.rows;
  const distance = distances(unit);
  const w = new Float64Array(n * n);
  for (let i = 0; i < n; i++) {
    const others = Array.from({ length: n }, (_, j) => j).filter((j) => j !== i);
    others.sort((a, b) => distance[i * n + a] - distance[i * n + b] || a - b);
    for (const j of others.slice(0, k)) w[i * n + j] = 1;
  }
  return w;
}

/** exp(−d² / 2σ²), σ the mean distance to the k-th nearest, the sample itself counted. */
function gaussian(unit: Rows, k: number): Float64Array {
  const n = unit.rows;
  const distance = distances(unit);
  let sum = 0;
  for (let i = 0; i < n; i++) sum += distance.slice(i * n, (i + 1) * n).sort()[Math.min(k, n) - 1];
  const sigma = sum / n;
  if (sigma === 0) {
    // A batch of one, or of equal features: every sample is exactly as near as itself.
    if (n === 1 || distance.every((d) => d === 0)) return new Float64Array(n * n).fill(1);
    throw new LoomweightError({
      code: "INVALID_OPERAND",
      problem: `more than half of the batch's samples have ${k - 1} twins of equal features: a Gaussian of width 0`,
      fix: 'Take a larger k, or affinity "knn".',
    });
  }
  return distance.map((d) => Math.exp(-(d * d) / (2 * sigma * sigma)));
}
