import {
  boolean,
  choice,
  fromFloat64,
  integer,
  LoomweightError,
  nonNegative,
  type OptionValues,
  parseOptions,
  positive,
  type Tensor,
} from "@loomweight/tensor";
import { affinityMatrix } from "./affinity.ts";
import { type Rows, rowsOf, softmaxRows } from "./rows.ts";

/** Options of the Laplacian correction. */
export const laplacianOptions = {
  affinity: choice(["knn", "rbf", "linear"], "knn", "how alike two samples are"),
  k: integer(5, "neighbours; of rbf the sample itself is the first", { min: 1 }),
  lambda: nonNegative(1, "weight of the agreement between neighbours"),
  maxSteps: integer(100, "most iterations of the fixed point", { min: 1 }),
  tolerance: positive(1e-8, "relative change of the bound at which the iteration ends"),
  symmetrize: boolean(false, "averages the affinities of both directions"),
};

export type LameOptions = Partial<OptionValues<typeof laplacianOptions>>;

export interface LameResult {
  /** Y [N, classes] in the dtype of `probabilities`; rows sum to 1. */
  readonly probabilities: Tensor;
  readonly iterations: number;
  /** The linearised bound after each iteration: what the stopping test looks at. It need not fall from step to step. */
  readonly bound: readonly number[];
  readonly converged: boolean;
}

/**
 * The correction alone: probabilities Q [N, classes] and features [N, D] of one batch → Y. Throws `SHAPE_MISMATCH`,
 * `INVALID_OPTION`, `INVALID_OPERAND`.
 */
export function correctPredictions(probabilities: Tensor, features: Tensor, given: LameOptions = {}): LameResult {
  const values = parseOptions(laplacianOptions, given, "lame");
  const { y, bound, converged } = solveLaplacian(
    rowsOf(probabilities, "probabilities"),
    rowsOf(features, "features"),
    values,
  );
  const dtype = probabilities.dtype === "float64" ? "float64" : "float32";
  return { probabilities: fromFloat64(y, probabilities.shape, dtype), iterations: bound.length, bound, converged };
}

/** Y of probabilities and features that are read already. */
export function solveLaplacian(
  q: Rows,
  features: Rows,
  values: OptionValues<typeof laplacianOptions>,
): { y: Float64Array; bound: number[]; converged: boolean } {
  if (features.rows !== q.rows) {
    throw new LoomweightError({
      code: "SHAPE_MISMATCH",
      problem: "lame: probabilities and features are not of the same samples",
      expected: `${q.rows} rows of features`,
      found: `${features.rows}`,
    });
  }
  if (values.affinity === "rbf" && values.k < 2) {
    throw new LoomweightError({
      code: "INVALID_OPTION",
      problem: "invalid value",
      option: "lame.k",
      expected: "at least 2 with affinity rbf, where the sample itself is the first neighbour",
      found: `${values.k}`,
    });
  }
  if (q.rows === 0 || (q.rows === 1 && values.affinity === "rbf")) {
    return { y: q.data.slice(), bound: [], converged: true };
  }
  const w = affinityMatrix(features, values);
  const unary = q.data.map((p) => -Math.log(p + 1e-10));
  const bound: number[] = [];
  let y = softmaxRows({ ...q, data: unary.map((u) => -u) }).data;
  for (let t = 0; t < values.maxSteps; t++) {
    const pull = pairwise(w, y, q, values.lambda);
    y = softmaxRows({ ...q, data: pull.map((p, i) => p - unary[i]) }).data;
    let energy = 0;
    // λ a second time, as the reference stops by it: at λ = 1, the published setting, it is the linearised bound.
    for (let i = 0; i < y.length; i++) {
      energy += y[i] * (unary[i] - values.lambda * pull[i] + Math.log(Math.max(y[i], 1e-20)));
    }
    const before = bound[bound.length - 1];
    bound.push(energy);
    // As the reference, the first two iterations are not tested.
    if (t > 1 && Math.abs(energy - before) <= values.tolerance * Math.abs(before)) {
      return { y, bound, converged: true };
    }
  }
  return { y, bound, converged: false };
}

/** λ W Y, [N, classes]. */
function pairwise(w: Float64Array, y: Float64Array, { rows: n, columns }: Rows, lambda: number): Float64Array {
  const out = new Float64Array(y.length);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < n; j++) {
      const weight = lambda * w[i * n + j];
      if (weight === 0) continue;
      for (let c = 0; c < columns; c++) out[i * columns + c] += weight * y[j * columns + c];
    }
  }
  return out;
}

/**
 * What LAME lowers, for affinities that are symmetric and positive semi-definite: Σ KL(yₙ ‖ qₙ) − λ/2 Σ Wᵢⱼ ⟨yᵢ, yⱼ⟩.
 * y, q [N, classes]; w [N, N] row-major.
 */
export function lameObjective(y: Tensor, q: Tensor, w: Float64Array, lambda = 1): number {
  const own = rowsOf(y, "y");
  const source = rowsOf(q, "q").data;
  const pull = pairwise(w, own.data, own, lambda);
  let total = 0;
  for (let i = 0; i < own.data.length; i++) {
    const p = own.data[i];
    if (p > 0) total += p * (Math.log(p) - Math.log(source[i]));
    total -= (p * pull[i]) / 2;
  }
  return total;
}
