import { matMul, mul, type Value } from "@loomweight/graph";
import { lq, randomizedSvd, type Svd, svd } from "@loomweight/linalg";
import {
  cast,
  contiguousData,
  fromFloat64,
  invalidOption,
  LoomweightError,
  slice,
  type Tensor,
  toFloat64,
} from "@loomweight/tensor";
import type { LowRankUpdate } from "./low-rank-sum.ts";

export interface TruncateOptions {
  /** Rank of the result at most; default no bound. */
  readonly rank?: number;
  /** Share of Σ σ² to keep, in (0, 1]: the smallest rank that keeps it. Default 1. */
  readonly energy?: number;
}

/** An update of lower rank, and what that cost. */
export interface TruncatedUpdate extends LowRankUpdate {
  /** ‖update − result‖ / ‖update‖ in the Frobenius norm; 0 for an update of zeros. */
  readonly relativeError: number;
}

/** Beyond this many rows and columns a full decomposition gives way to a randomized one. */
const fullSvdSize = 384;

/**
 * The best update of a lower rank (Eckart and Young 1936), by the factors alone: with Bᵀ = L₁ Q₁ and A = L₂ Q₂ the
 * decomposition is that of L₁ᵀ L₂, as large as the rank. The delta itself is never formed. B′ = U diag(σ), A′ = Vᵀ,
 * scaling 1. float64. Throws `INVALID_OPTION`, `NOT_FINITE`.
 */
export function truncateLowRank(update: LowRankUpdate, options: TruncateOptions): TruncatedUpdate {
  const a = cast(update.a, "float64");
  const plain = cast(update.b, "float64");
  const b = update.scaling === 1 ? plain : (mul(plain, update.scaling) as Tensor<"float64">);
  const [rank, columns] = a.shape;
  if (rank === 0) return { a, b, scaling: 1, relativeError: 0 };
  if (rank >= Math.min(columns, b.shape[0])) return truncateDelta(product(b, a), options);
  // Both factors as few long rows: only the results are turned.
  const left = lq(turned(b));
  const right = lq(a);
  const core = svd(product(turned(left.l as Tensor<"float64">), right.l));
  const kept = chooseRank(core.singularValues, options);
  const { u, vt } = scaledVectors(core, kept.rank);
  return {
    b: turned(product(turned(u), left.q)),
    a: product(vt, right.q),
    scaling: 1,
    relativeError: kept.relativeError,
  };
}

/**
 * The best update of a lower rank for a whole delta [out, in]. Large ones with a bound on the rank are decomposed by
 * random projections with four power iterations, whose error is within a fraction of a percent of the best. Throws
 * `INVALID_OPTION`, `NOT_FINITE`.
 */
export function truncateDelta(delta: Tensor, options: TruncateOptions, seed = 0): TruncatedUpdate {
  const matrix = cast(delta, "float64");
  const least = Math.min(...matrix.shape);
  const bound = Math.min(options.rank ?? least, least);
  const sampled = least > fullSvdSize && bound * 4 < least;
  const found = sampled
    ? randomizedSvd(matrix, { rank: bound, powerIterations: 4, oversampling: Math.min(bound, 16), seed })
    : svd(matrix);
  const total = toFloat64(matrix).reduce((sum, value) => sum + value * value, 0);
  const kept = chooseRank(found.singularValues, options, total);
  const { u, vt } = scaledVectors(found, kept.rank);
  return { b: u, a: vt, scaling: 1, relativeError: kept.relativeError };
}

/** How many singular values stay, and the relative error of leaving the rest. */
function chooseRank(
  singularValues: Tensor,
  { rank, energy = 1 }: TruncateOptions,
  whole?: number,
): { rank: number; relativeError: number } {
  if (rank !== undefined && !(Number.isSafeInteger(rank) && rank >= 1)) {
    throw invalidOption({ option: "rank" }, rank, "a whole number of at least 1");
  }
  if (!(energy > 0 && energy <= 1)) throw invalidOption({ option: "energy" }, energy, "a number above 0 and at most 1");
  const squares = toFloat64(singularValues).map((value) => value * value);
  const total = whole ?? squares.reduce((sum, value) => sum + value, 0);
  if (!Number.isFinite(total)) {
    throw new LoomweightError({ code: "NOT_FINITE", problem: "the update is not made of finite numbers" });
  }
  const most = Math.max(1, Math.min(rank ?? squares.length, squares.length));
  let kept = 0;
  let count = 0;
  while (count < most && (energy === 1 || count === 0 || kept < energy * total)) kept += squares[count++];
  return { rank: count, relativeError: total === 0 ? 0 : Math.sqrt(Math.max(0, 1 - kept / total)) };
}

/** U diag(σ) and Vᵀ of the first singular values. */
function scaledVectors({ u, singularValues, vt }: Svd, rank: number): { u: Tensor<"float64">; vt: Tensor<"float64"> } {
  const own = (tensor: Tensor) => fromFloat64(contiguousData(tensor) as Float64Array, tensor.shape);
  const left = mul(slice(u, [{}, { end: rank }]), slice(singularValues, [{ end: rank }]));
  return { u: own(left as Tensor), vt: own(slice(vt, [{ end: rank }])) };
}

function product(a: Value, b: Value): Tensor<"float64"> {
  return matMul(a, b) as Tensor<"float64">;
}

/** The transpose in an array of its own. */
function turned(a: Tensor<"float64">): Tensor<"float64"> {
  const [rows, columns] = a.shape;
  const values = contiguousData(a) as Float64Array;
  const out = new Float64Array(values.length);
  const block = 32; // both sides stay in the cache
  for (let i0 = 0; i0 < rows; i0 += block) {
    for (let j0 = 0; j0 < columns; j0 += block) {
      for (let i = i0; i < Math.min(rows, i0 + block); i++) {
        for (let j = j0; j < Math.min(columns, j0 + block); j++) out[j * rows + i] = values[i * columns + j];
      }
    }
  }
  return fromFloat64(out, [columns, rows]);
}
