import { createRandom, LoomweightError, type Random, type Tensor } from "@loomweight/tensor";
import { type Dense, type Matrix, readMatrix, scaled, writeMatrix } from "./core/dense.ts";
import { multiply } from "./core/multiply.ts";
import { requireNonNegative, requireWhole } from "./core/options.ts";

export interface KMeansOptions {
  readonly clusters: number;
  /** How much each point counts in inertia and centroids, above 0; default 1 each. */
  readonly weights?: ArrayLike<number>;
  /** Centroids [clusters, d] to start from; default drawn. With them there is one start. */
  readonly start?: Tensor;
  /** Default 0. */
  readonly seed?: number;
  /** Independent starts, of which the best is kept. Default 1. */
  readonly restarts?: number;
  /** Most rounds of a start. Default 100. */
  readonly iterations?: number;
  /** A start ends when the inertia falls by at most this share in a round. Default 1e-6. */
  readonly tolerance?: number;
}

export interface KMeans {
  /** [clusters, d] */
  readonly centroids: Matrix;
  /** The cluster of each point, [n]. */
  readonly labels: Int32Array;
  /** Sum of squared distances of points to their centroids, each times its weight. */
  readonly inertia: number;
  /** Rounds of the start that was kept. */
  readonly iterations: number;
}

/**
 * k-means of points [n, d]: k-means++ seeding (Arthur and Vassilvitskii 2007) and Lloyd's rounds, in float64; a cluster that
 * loses all its points is given the point farthest from its centroid. The same seed gives the same clusters. Throws
 * `TOO_FEW_POINTS` for fewer points than clusters, `INVALID_OPTION`, `SHAPE_MISMATCH`, `UNSUPPORTED_DTYPE`, `NOT_FINITE`.
 */
export function kMeans(points: Tensor, options: KMeansOptions): KMeans {
  const matrix = readMatrix(points, { function: "kMeans", operand: "points" });
  const clusters = requireWhole("kMeans", "clusters", options?.clusters, 1, Number.MAX_SAFE_INTEGER);
  const restarts = requireWhole("kMeans", "restarts", options.restarts ?? 1, 1, 1000);
  const iterations = requireWhole("kMeans", "iterations", options.iterations ?? 100, 1, 1_000_000);
  const tolerance = requireNonNegative("kMeans", "tolerance", options.tolerance ?? 1e-6);
  if (matrix.rows < clusters) {
    throw new LoomweightError({
      code: "TOO_FEW_POINTS",
      problem: "kMeans: there are fewer points than clusters",
      tensor: "points",
      expected: `at least ${clusters} rows`,
      found: `${matrix.rows}`,
    });
  }
  const weights = readWeights(options.weights, matrix.rows);
  const random = createRandom(options.seed ?? 0, "kMeans");
  // centred, so that |x|^2 - 2 x c + |c|^2 loses no digits to a common offset
  const { matrix: near, scale } = scaled(matrix);
  const { centred, mean } = centre(near);
  const given = options.start && startFrom(options.start, { clusters, mean, scale });
  let best: Lloyd | undefined;
  for (let start = 0; start < (given === undefined ? restarts : 1); start++) {
    const first = given ?? seedCentroids(centred, weights, clusters, random.child(`${start}`));
    const found = lloyd({ points: centred, weights }, first, iterations, tolerance);
    if (best === undefined || found.inertia < best.inertia) best = found;
  }
  const { centroids, labels, inertia, iterations: rounds } = best as Lloyd;
  const d = matrix.columns;
  const out = centroids.values.map((value, i) => (value + mean[i % d]) * scale);
  return {
    centroids: writeMatrix(out, [clusters, d], points.dtype as Matrix["dtype"]),
    labels,
    inertia: inertia * scale * scale,
    iterations: rounds,
  };
}

function readWeights(given: ArrayLike<number> | undefined, count: number): Float64Array {
  const weights = given === undefined ? new Float64Array(count).fill(1) : Float64Array.from(given);
  if (weights.length === count && weights.every((each) => each > 0 && Number.isFinite(each))) return weights;
  throw new LoomweightError({
    code: "INVALID_OPTION",
    problem: "kMeans: one weight above 0 is needed for each point",
    option: "weights",
    expected: `${count} numbers`,
    found: `${weights.length}: ${[...weights.subarray(0, 8)].join(", ")}`,
  });
}

/** Given centroids where the points are: centred and scaled. */
function startFrom(
  start: Tensor,
  { clusters, mean, scale }: { clusters: number; mean: Float64Array; scale: number },
): Dense {
  const { rows, columns, values } = readMatrix(start, { function: "kMeans", operand: "start" });
  if (rows !== clusters || columns !== mean.length) {
    throw new LoomweightError({
      code: "SHAPE_MISMATCH",
      problem: "kMeans: the centroids to start from do not fit",
      tensor: "start",
      expected: `[${clusters}, ${mean.length}]`,
      found: `[${rows}, ${columns}]`,
    });
  }
  return { rows, columns, values: values.map((value, i) => value / scale - mean[i % columns]) };
}

function centre({ rows: n, columns: d, values }: Dense): { centred: Dense; mean: Float64Array } {
  const mean = new Float64Array(d);
  for (let i = 0; i < values.length; i++) mean[i % d] += values[i] / n;
  return { centred: { rows: n, columns: d, values: values.map((value, i) => value - mean[i % d]) }, mean };
}

function squaredDistance(a: Dense, i: number, b: Dense, j: number): number {
  const d = a.columns;
  let sum = 0;
  for (let k = 0; k < d; k++) sum += (a.values[i * d + k] - b.values[j * d + k]) ** 2;
  return sum;
}

/** Each next centroid is a point drawn with a probability that grows with its weighted squared distance to those chosen. */
function seedCentroids(points: Dense, weights: Float64Array, clusters: number, random: Random): Dense {
  const { rows: n, columns: d, values } = points;
  const centroids = { rows: clusters, columns: d, values: new Float64Array(clusters * d) };
  const nearest = new Float64Array(n).fill(Number.POSITIVE_INFINITY);
  let chosen = Math.floor(random.uniform(0) * n);
  for (let c = 0; c < clusters; c++) {
    centroids.values.set(values.subarray(chosen * d, (chosen + 1) * d), c * d);
    let total = 0;
    for (let i = 0; i < n; i++) {
      nearest[i] = Math.min(nearest[i], squaredDistance(points, i, centroids, c));
      total += nearest[i] * weights[i];
    }
    let left = random.uniform(c + 1) * total;
    chosen = -1;
    for (let i = 0; i < n; i++) {
      if (nearest[i] === 0) continue;
      chosen = i; // the last one, where rounding leaves something over
      left -= nearest[i] * weights[i];
      if (left < 0) break;
    }
    if (chosen < 0) chosen = (c + 1) % n; // all points coincide with a centroid
  }
  return centroids;
}

interface Lloyd {
  readonly centroids: Dense;
  readonly labels: Int32Array;
  readonly inertia: number;
  readonly iterations: number;
}

function lloyd(
  { points, weights }: { points: Dense; weights: Float64Array },
  start: Dense,
  iterations: number,
  tolerance: number,
): Lloyd {
  const { rows: n, columns: d } = points;
  const clusters = start.rows;
  const labels = new Int32Array(n);
  const distances = new Float64Array(n);
  let centroids = start;
  const assign = (to: Dense) => {
    assignInto(labels, distances, points, to);
    return distances.reduce((sum, distance, i) => sum + distance * weights[i], 0);
  };
  let inertia = assign(centroids);
  for (let round = 1; ; round++) {
    const values = new Float64Array(clusters * d);
    const counts = new Float64Array(clusters);
    for (let i = 0; i < n; i++) {
      counts[labels[i]] += weights[i];
      for (let k = 0; k < d; k++) values[labels[i] * d + k] += weights[i] * points.values[i * d + k];
    }
    for (let c = 0; c < clusters; c++) {
      if (counts[c] > 0) {
        for (let k = 0; k < d; k++) values[c * d + k] /= counts[c];
        continue;
      }
      let far = 0;
      for (let i = 1; i < n; i++) if (distances[i] > distances[far]) far = i;
      distances[far] = 0; // taken: the next empty cluster finds another
      values.set(points.values.subarray(far * d, (far + 1) * d), c * d);
    }
    centroids = { rows: clusters, columns: d, values };
    const next = assign(centroids);
    if (round === iterations || inertia - next <= tolerance * inertia) {
      return { centroids, labels, inertia: next, iterations: round };
    }
    inertia = next;
  }
}

/** The nearest centroid of each point (the first among equals) and its squared distance. */
function assignInto(labels: Int32Array, distances: Float64Array, points: Dense, centroids: Dense): void {
  const { rows: n, columns: d } = points;
  const clusters = centroids.rows;
  const half = new Float64Array(clusters);
  for (let c = 0; c < clusters; c++) {
    for (let k = 0; k < d; k++) half[c] += 0.5 * centroids.values[c * d + k] ** 2;
  }
  const tile = Math.max(1, Math.floor(2 ** 20 / Math.max(clusters, d)));
  for (let start = 0; start < n; start += tile) {
    const end = Math.min(n, start + tile);
    const part = { rows: end - start, columns: d, values: points.values.subarray(start * d, end * d) };
    const products = multiply(part, centroids, { transposeB: true }).values;
    for (let i = start; i < end; i++) {
      let best = 0;
      let least = Number.POSITIVE_INFINITY;
      for (let c = 0; c < clusters; c++) {
        const score = half[c] - products[(i - start) * clusters + c];
        if (score < least) {
          least = score;
          best = c;
        }
      }
      labels[i] = best;
      distances[i] = squaredDistance(points, i, centroids, best);
    }
  }
}
