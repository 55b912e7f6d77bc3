import { singularValues, solve } from "@loomweight/linalg";
import { fromData, LoomweightError, type Tensor, toFloat64 } from "@loomweight/tensor";

// AdapterTune's view of the rank as a budget of capacity: how much of the shift that a task asks for each rank reaches.

export interface RankScore {
  readonly rank: number;
  readonly score: number;
}

/** Trains once a rank, in order; default ranks 1, 2, 4, … 64. */
export async function rankSweep(
  train: (rank: number) => Promise<number>,
  ranks: readonly number[] = [1, 2, 4, 8, 16, 32, 64],
): Promise<RankScore[]> {
  const scores: RankScore[] = [];
  for (const rank of ranks) scores.push({ rank, score: await train(rank) });
  return scores;
}

/**
 * The smallest rank whose score is within `tolerance` of the best, as a share of what the best gains over the baseline
 * (head only). Higher scores are better. Default tolerance 0.1. Throws `INVALID_OPTION` on an empty sweep.
 */
export function elbow(sweep: readonly RankScore[], baseline: number, tolerance = 0.1): number {
  if (sweep.length === 0) throw empty("sweep");
  const best = Math.max(...sweep.map(({ score }) => score));
  const enough = best - tolerance * Math.max(0, best - baseline);
  return Math.min(...sweep.filter(({ score }) => score >= enough).map(({ rank }) => rank));
}

export interface ShiftSpectrum {
  /** Of Δ Σ^½, largest first: Δ the ridge regression of targets on features, Σ the features' second moment. */
  readonly singularValues: Float64Array;
  /** residual[r]: mean squared shift that a linear map of rank r leaves, beyond what no linear map reaches; [d + 1]. */
  readonly residual: Float64Array;
}

/**
 * How quickly a linear correction of low rank reaches a wanted shift: features [samples, d], targets [samples, d], the
 * shift wanted of each. The best error of rank r is Σ_{i > r} σᵢ² (Eckart–Young). Reconstruction of the paper's analysis;
 * `ridge` is added to Σ's diagonal as a share of its mean, default 1e-6.
 */
export function shiftSpectrum(
  features: Tensor,
  targets: Tensor,
  { ridge = 1e-6 }: { readonly ridge?: number } = {},
): ShiftSpectrum {
  const [samples, width] = features.shape;
  const [rows, outputs] = targets.shape;
  if (features.shape.length !== 2 || targets.shape.length !== 2 || samples !== rows || samples === 0) {
    throw new LoomweightError({
      code: "SHAPE_MISMATCH",
      problem: "features and targets are matrices with one row a sample",
      expected: `[${samples}, …]`,
      found: `[${features.shape}] and [${targets.shape}]`,
    });
  }
  const [x, y] = [toFloat64(features), toFloat64(targets)];
  const moment = new Float64Array(width * width);
  const cross = new Float64Array(width * outputs);
  for (let n = 0; n < samples; n++) {
    for (let i = 0; i < width; i++) {
      const value = x[n * width + i] / samples;
      for (let j = 0; j < width; j++) moment[i * width + j] += value * x[n * width + j];
      for (let j = 0; j < outputs; j++) cross[i * outputs + j] += value * y[n * outputs + j];
    }
  }
  const trace = Array.from({ length: width }, (_, i) => moment[i * width + i]).reduce((sum, value) => sum + value, 0);
  for (let i = 0; i < width; i++) moment[i * width + i] += (ridge * trace) / width;
  const second = fromData("float64", moment, [width, width]);
  // (Δ Σ^½)(Δ Σ^½)ᵀ = Δ C with C = Σ Δᵀ: its singular values are the squares of those wanted, without a root of Σ.
  const delta = solve(second, fromData("float64", cross, [width, outputs])); // Δᵀ [width, outputs]
  const gram = new Float64Array(outputs * outputs);
  const d = toFloat64(delta);
  for (let i = 0; i < width; i++) {
    for (let j = 0; j < outputs; j++) {
      for (let k = 0; k < outputs; k++) gram[j * outputs + k] += d[i * outputs + j] * cross[i * outputs + k];
    }
  }
  const squares = toFloat64(singularValues(fromData("float64", gram, [outputs, outputs])));
  const residual = new Float64Array(outputs + 1);
  for (let r = outputs - 1; r >= 0; r--) residual[r] = residual[r + 1] + squares[r];
  return { singularValues: squares.map(Math.sqrt), residual };
}

function empty(option: string): LoomweightError {
  return new LoomweightError({
    code: "INVALID_OPTION",
    problem: "nothing to look at",
    option,
    expected: "at least one entry",
  });
}
