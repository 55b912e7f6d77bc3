import { exponential, logarithm } from "@loomweight/kernels";
import { LoomweightError } from "@loomweight/tensor/errors";

/**
 * The whole state of a search: plain data, so that it can be written as JSON and continued later with the same next
 * candidates.
 */
export interface SearchState {
  readonly seed: number;
  /** Generations finished. */
  readonly generation: number;
  /** Candidates per generation (λ). */
  readonly population: number;
  /** Centre of the search distribution [n]. */
  readonly mean: readonly number[];
  /** Step size σ. */
  readonly sigma: number;
  /** Lower-triangular A, row by row, with covariance A Aᵀ. */
  readonly factor: readonly number[];
  readonly covariancePath: readonly number[];
  readonly stepPath: readonly number[];
  readonly best?: { readonly point: readonly number[]; readonly score: number };
}

export interface SearchOptions {
  /** Where the search begins [n]. */
  readonly start: readonly number[];
  /** Expected distance of the optimum from `start` along each coordinate, > 0; default 0.3. */
  readonly sigma?: number;
  /** Candidates per generation, at least 4; default 4 + ⌊3 ln n⌋. */
  readonly population?: number;
  /** Default 0. */
  readonly seed?: number;
}

/** Standard normal numbers for one candidate: the same for the same (seed, name). */
export type NormalNumbers = (seed: number, name: string, count: number) => readonly number[];

/** Begins a search. Throws `INVALID_OPTION`. */
export function startSearch({ start, sigma = 0.3, population, seed = 0 }: SearchOptions): SearchState {
  const n = start.length;
  const size = population ?? 4 + Math.floor(3 * logarithm(Math.max(1, n)));
  if (n === 0 || start.some((value) => !Number.isFinite(value))) {
    throw invalid("start", "at least one finite number", `[${start}]`);
  }
  if (!(sigma > 0) || !Number.isFinite(sigma)) throw invalid("sigma", "a number above 0", String(sigma));
  if (!Number.isInteger(size) || size < 4) throw invalid("population", "a whole number of at least 4", String(size));
  const factor = new Array<number>(n * n).fill(0);
  for (let i = 0; i < n; i++) factor[i * n + i] = 1;
  const zeros = new Array<number>(n).fill(0);
  return {
    seed,
    generation: 0,
    population: size,
    mean: [...start],
    sigma,
    factor,
    covariancePath: zeros,
    stepPath: zeros,
  };
}

/** The candidates of the present generation, each [n]: mean + σ A z. */
export function candidates(state: SearchState, normal: NormalNumbers): number[][] {
  const n = state.mean.length;
  return Array.from({ length: state.population }, (_, index) => {
    const z = normal(state.seed, `generation ${state.generation} candidate ${index}`, n);
    return lowerProduct(state.factor, z).map((value, i) => state.mean[i] + state.sigma * value);
  });
}

/**
 * The next state, given the candidates of this generation with their scores, lowest best. NaN and infinite scores
 * count as worst; `points` may have been moved (into bounds, say) before they were scored.
 *
 * CMA-ES with weighted recombination of the better half, rank-one and rank-μ updates of the covariance and cumulative
 * step-size control (Hansen 2016, arXiv:1604.00772), kept as a Cholesky factor so that no eigendecomposition is needed
 * (Krause, Arbonès & Igel 2016, NeurIPS).
 */
export function advance(
  state: SearchState,
  points: readonly (readonly number[])[],
  scores: readonly number[],
): SearchState {
  const n = state.mean.length;
  if (points.length !== state.population || scores.length !== points.length) {
    throw invalid(
      "scores",
      `${state.population} candidates with a score each`,
      `${points.length} and ${scores.length}`,
    );
  }
  const order = scores.map((_, index) => index).sort((a, b) => rank(scores[a]) - rank(scores[b]) || a - b);
  const { weights, effective } = recombinationWeights(state.population);
  const parents = order.slice(0, weights.length).map((index) => points[index]);

  const mean = state.mean.map((_, i) => parents.reduce((total, point, k) => total + weights[k] * point[i], 0));
  const shift = mean.map((value, i) => (value - state.mean[i]) / state.sigma);

  const stepRate = (effective + 2) / (n + effective + 5);
  const damping = 1 + 2 * Math.max(0, Math.sqrt((effective - 1) / (n + 1)) - 1) + stepRate;
  const whitened = lowerSolve(state.factor, shift);
  const stepPath = decayed(state.stepPath, whitened, stepRate, effective);
  const length = Math.hypot(...stepPath);
  // Expected length of a standard normal vector.
  const expected = Math.sqrt(n) * (1 - 1 / (4 * n) + 1 / (21 * n * n));

  const pathRate = (4 + effective / n) / (n + 4 + (2 * effective) / n);
  const settled =
    length / Math.sqrt(1 - (1 - stepRate) ** (2 * (state.generation + 1))) < (1.4 + 2 / (n + 1)) * expected;
  const covariancePath = settled
    ? decayed(state.covariancePath, shift, pathRate, effective)
    : state.covariancePath.map((value) => (1 - pathRate) * value);

  const rankOne = 2 / ((n + 1.3) ** 2 + effective);
  const rankMany = Math.min(1 - rankOne, (2 * (effective - 2 + 1 / effective)) / ((n + 2) ** 2 + effective));
  const kept = Math.sqrt(1 - rankOne - rankMany + (settled ? 0 : rankOne * pathRate * (2 - pathRate)));
  let factor = state.factor.map((value) => value * kept);
  factor = rankOneUpdate(factor, rankOne, covariancePath);
  for (const [k, point] of parents.entries()) {
    const step = point.map((value, i) => (value - state.mean[i]) / state.sigma);
    factor = rankOneUpdate(factor, rankMany * weights[k], step);
  }

  const winner = order[0];
  const better = Number.isFinite(scores[winner]) && (state.best === undefined || scores[winner] < state.best.score);
  return {
    ...state,
    generation: state.generation + 1,
    mean,
    // At most e per generation, so that one lucky step cannot blow the search up.
    sigma: state.sigma * exponential(Math.min(1, (stepRate / damping) * (length / expected - 1))),
    factor,
    covariancePath,
    stepPath,
    best: better ? { point: [...points[winner]], score: scores[winner] } : state.best,
  };
}

/** Logarithmic weights of the better half, summing to 1, and the effective number of parents 1 / Σ w². */
function recombinationWeights(population: number): { weights: number[]; effective: number } {
  const raw = Array.from(
    { length: Math.floor(population / 2) },
    (_, k) => logarithm((population + 1) / 2) - logarithm(k + 1),
  );
  const total = raw.reduce((a, b) => a + b, 0);
  const weights = raw.map((weight) => weight / total);
  return { weights, effective: 1 / weights.reduce((sum, weight) => sum + weight * weight, 0) };
}

const rank = (score: number) => (Number.isFinite(score) ? score : Number.MAX_VALUE);

function decayed(path: readonly number[], step: readonly number[], rate: number, effective: number): number[] {
  const gain = Math.sqrt(rate * (2 - rate) * effective);
  return path.map((value, i) => (1 - rate) * value + gain * step[i]);
}

/** L x for a lower-triangular L. */
function lowerProduct(lower: readonly number[], x: readonly number[]): number[] {
  const n = x.length;
  return x.map((_, i) => {
    let total = 0;
    for (let j = 0; j <= i; j++) total += lower[i * n + j] * x[j];
    return total;
  });
}

/** L⁻¹ b for a lower-triangular L. */
function lowerSolve(lower: readonly number[], b: readonly number[]): number[] {
  const n = b.length;
  const x = new Array<number>(n);
  for (let i = 0; i < n; i++) {
    let rest = b[i];
    for (let j = 0; j < i; j++) rest -= lower[i * n + j] * x[j];
    x[i] = rest / lower[i * n + i];
  }
  return x;
}

/** The Cholesky factor of L Lᵀ + amount · v vᵀ, amount >= 0 (Gill, Golub, Murray & Saunders 1974, method C1). */
function rankOneUpdate(lower: readonly number[], amount: number, v: readonly number[]): number[] {
  const n = v.length;
  const out = [...lower];
  const rest = v.map((value) => value * Math.sqrt(amount));
  for (let j = 0; j < n; j++) {
    const diagonal = out[j * n + j];
    const grown = Math.hypot(diagonal, rest[j]);
    const cosine = grown / diagonal;
    const sine = rest[j] / diagonal;
    out[j * n + j] = grown;
    for (let i = j + 1; i < n; i++) {
      out[i * n + j] = (out[i * n + j] + sine * rest[i]) / cosine;
      rest[i] = cosine * rest[i] - sine * out[i * n + j];
    }
  }
  return out;
}

function invalid(option: string, expected: string, found: string): LoomweightError {
  return new LoomweightError({
    code: "INVALID_OPTION",
    problem: "invalid value",
    option: `search.${option}`,
    expected,
    found,
  });
}
