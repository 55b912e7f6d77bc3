import { svd } from "@loomweight/linalg";
import { cast, contiguousData, fromData, LoomweightError, shapeMismatch, type Tensor } from "@loomweight/tensor";

/** The leading principal directions of rows, largest first. */
export interface PrincipalDirections {
  /** [k, in], orthonormal rows; the entry of largest magnitude of each is positive. */
  readonly components: Tensor<"float64">;
  /** [k], singular values of the centred rows. */
  readonly singularValues: Float64Array;
  /** [k], variance along each. */
  readonly variances: Float64Array;
  /** [k], share of the total variance. */
  readonly ratios: Float64Array;
}

/** A running principal component analysis. */
export interface IncrementalPca {
  /** Adds rows [n, in]. Fewer than `count` rows are left out; says whether they were used. */
  add(rows: Tensor): boolean;
  /** What the rows so far give. Throws `MISSING_DATA` where there were none. */
  directions(): PrincipalDirections;
}

export interface IncrementalPcaOptions {
  /** Take the mean out of the rows; without, these are the singular vectors of the rows. Default true. */
  readonly center?: boolean;
}

/**
 * Principal component analysis over batches, keeping `count` directions in memory: the directions so far, scaled by their
 * singular values, the new centred rows and the shift of the mean are decomposed together. Exact where `count` is `width`
 * or one batch is all there is. float64. Throws `INVALID_OPTION`, `SHAPE_MISMATCH`, `NOT_FINITE`.
 * Source: Ross et al. 2008, Incremental Learning for Robust Visual Tracking, §3.1.
 */
export function incrementalPca(
  width: number,
  count: number,
  { center = true }: IncrementalPcaOptions = {},
): IncrementalPca {
  if (!Number.isInteger(count) || count < 1 || count > width) {
    throw new LoomweightError({
      code: "INVALID_OPTION",
      problem: "inputs have as many directions as they are wide",
      option: "count",
      expected: `a whole number from 1 to ${width}`,
      found: String(count),
    });
  }
  let rowsSeen = 0;
  let spread = 0; // Σ over columns of the squared distances from the mean
  let mean = new Float64Array(width);
  let components = new Float64Array(0);
  let values = new Float64Array(0);
  return {
    add(rows) {
      if (rows.shape.length !== 2 || rows.shape[1] !== width) {
        throw shapeMismatch({
          tensor: "rows",
          expected: { from: "the layer's inputs", shape: [-1, width] },
          got: { from: "rows", shape: rows.shape },
        });
      }
      const n = rows.shape[0];
      if (n < count) return false;
      const batch = contiguousData(cast(rows, "float64")) as Float64Array;
      const batchMean = new Float64Array(width);
      if (center) for (let i = 0; i < batch.length; i++) batchMean[i % width] += batch[i] / n;
      const total = rowsSeen + n;
      const kept = values.length;
      const stacked = new Float64Array((kept + n + (center && kept > 0 ? 1 : 0)) * width);
      for (let i = 0; i < components.length; i++) stacked[i] = components[i] * values[Math.floor(i / width)];
      for (let i = 0; i < batch.length; i++) {
        const centred = batch[i] - batchMean[i % width];
        stacked[kept * width + i] = centred;
        spread += centred ** 2;
      }
      const shared = Math.sqrt((rowsSeen * n) / total);
      const newMean = new Float64Array(width);
      for (let j = 0; j < width; j++) {
        newMean[j] = mean[j] + ((batchMean[j] - mean[j]) * n) / total;
        if (kept === 0 || !center) continue;
        const shift = shared * (mean[j] - batchMean[j]);
        stacked[(kept + n) * width + j] = shift;
        spread += shift ** 2;
      }
      const rank = Math.min(count, stacked.length / width);
      const { singularValues, vt } = svd(fromData("float64", stacked, [stacked.length / width, width]), { rank });
      components = Float64Array.from(contiguousData(vt) as Float64Array);
      values = Float64Array.from(contiguousData(singularValues) as Float64Array);
      pointUp(components, width);
      rowsSeen = total;
      mean = newMean;
      return true;
    },
    directions() {
      if (rowsSeen === 0) {
        throw new LoomweightError({
          code: "MISSING_DATA",
          problem: "no batch of the layer's inputs had enough rows",
          expected: `a batch of at least ${count} rows`,
        });
      }
      return {
        components: fromData("float64", components.slice(), [values.length, width]),
        singularValues: values.slice(),
        variances: values.map((value) => value ** 2 / Math.max(1, rowsSeen - 1)),
        ratios: values.map((value) => (spread > 0 ? value ** 2 / spread : 0)),
      };
    },
  };
}

/** Which directions moved little from one to the other: cosine at least `tau`. */
export function settledDirections(before: PrincipalDirections, now: PrincipalDirections, tau: number): boolean[] {
  const [a, b] = [before, now].map(({ components }) => contiguousData(components) as Float64Array);
  const [count, width] = now.components.shape;
  return Array.from({ length: count }, (_, row) => {
    let cosine = 0;
    for (let j = row * width; j < (row + 1) * width; j++) cosine += a[j] * b[j];
    return cosine >= tau;
  });
}

/** Turns each row so that its entry of largest magnitude is positive. */
function pointUp(rows: Float64Array, width: number): void {
  for (let first = 0; first < rows.length; first += width) {
    const row = rows.subarray(first, first + width);
    let largest = 0;
    for (const value of row) if (Math.abs(value) > Math.abs(largest)) largest = value;
    if (largest < 0) for (let j = 0; j < width; j++) row[j] = -row[j];
  }
}
