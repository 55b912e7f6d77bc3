import { matMul, sub } from "@loomweight/graph";
import { svd } from "@loomweight/linalg";
import { fromFloat64, type Tensor, toFloat64, transpose } from "@loomweight/tensor";

export interface ProjectionOptions {
  /** Share of the sum of singular values whose directions are protected, 0 <= alpha < 1. */
  readonly alpha: number;
  /** Whether entries along the pairs of singular directions are removed everywhere, which makes the result orthogonal. */
  readonly zeroDiagonal: boolean;
  /** Singular values of at most this share of the largest count as 0. */
  readonly rankTolerance: number;
}

/**
 * What of a new task vector τ [out, in] is new beside the merged one M [out, in] = U Σ Vᵀ: the block of the first r
 * pairs of directions and the diagonal of Uᵀ τ V are taken out, r the number of singular values before their sum exceeds
 * alpha. Where M is 0 nothing is taken out. float64.
 *
 * τ − U_r (U_rᵀ τ V_r) V_rᵀ − Σ_{i >= r} (uᵢᵀ τ vᵢ) uᵢ vᵢᵀ over the indices below M's numerical rank.
 */
export function projectTaskVector(
  merged: Tensor,
  taskVector: Tensor,
  { alpha, zeroDiagonal, rankTolerance }: ProjectionOptions,
): { readonly projected: Tensor<"float64">; readonly splitRank: number } {
  const taskVector64 = fromFloat64(toFloat64(taskVector), taskVector.shape);
  const values = toFloat64(merged);
  if (values.every((value) => value === 0)) return { projected: taskVector64, splitRank: 0 };
  const { u, singularValues, vt } = svd(fromFloat64(values, merged.shape));
  const sigma = toFloat64(singularValues);
  const splitRank = splitAt(sigma, alpha);
  const rank = sigma.filter((value) => value > rankTolerance * sigma[0]).length;
  const rotated = matMul(matMul(transpose(u), taskVector64), transpose(vt)); // Uᵀ τ V
  const removed = toFloat64(rotated).map((value, at) => {
    const [a, b] = [Math.floor(at / sigma.length), at % sigma.length];
    const protectedPair = a < splitRank && b < splitRank;
    return protectedPair || (zeroDiagonal && a === b && a < rank) ? value : 0;
  });
  const back = matMul(matMul(u, fromFloat64(removed, rotated.shape)), vt);
  return { projected: sub(taskVector64, back) as Tensor<"float64">, splitRank };
}

/** Index of the first singular value at which the running share of their sum exceeds alpha. */
function splitAt(sigma: Float64Array, alpha: number): number {
  const total = sigma.reduce((sum, value) => sum + value, 0);
  let running = 0;
  for (let k = 0; k < sigma.length; k++) {
    running += sigma[k];
    if (running / total > alpha) return k;
  }
  return sigma.length; // rounding only: alpha is below 1
}
