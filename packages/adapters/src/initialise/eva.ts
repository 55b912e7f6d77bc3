import {
  boolean,
  contiguousData,
  fromData,
  integer,
  LoomweightError,
  type OptionValues,
  parseOptions,
  positive,
  type Tensor,
} from "@loomweight/tensor";
import type { PrincipalDirections } from "./principal-directions.ts";

const options = {
  rank: integer(8, "mean rank of the layers", { min: 1 }),
  alpha: positive(8, "alpha of a layer of the mean rank"),
  rho: positive(2, "a layer's rank is at most rho · rank; at least 1"),
  adjustScaling: boolean(true, "alpha follows the rank, so that every layer's update is scaled alike"),
  whiten: boolean(false, "divide each direction by the root of its singular value"),
};
/** Options of `eva`, checked. */
export type EvaOptions = OptionValues<typeof options>;

/** How each layer's LoRA starts. */
export interface EvaStart {
  /** By layer: the factor A [rank, in] (the statistic `components` of `lora`'s start "eva"), its rank and alpha. */
  readonly layers: ReadonlyMap<
    string,
    { readonly A: Tensor<"float64">; readonly rank: number; readonly alpha: number }
  >;
  /** PEFT's `rank_pattern` and `alpha_pattern`: layers that differ from the options. */
  readonly rankPattern: Readonly<Record<string, number>>;
  readonly alphaPattern: Readonly<Record<string, number>>;
  /** Layers that got no rank: they need no adapter. */
  readonly removed: readonly string[];
}

/** How many directions of a layer `eva` looks at: rho · rank, halves to the even number as in PEFT. */
export function evaCount({ rank, rho }: { readonly rank: number; readonly rho: number }): number {
  const product = rank * rho;
  const below = Math.floor(product);
  return product - below === 0.5 ? below + (below % 2) : Math.round(product);
}

/**
 * EVA: LoRA's A starts as the leading principal directions of the layer's inputs, B as zero, and the ranks, rank per
 * layer on average, go to the directions that explain the most variance over all layers. `directions` holds
 * `evaCount` principal directions [k, in] of each layer, in the order of the model; layers with equal directions (q, k
 * and v read one input) count as a group, whose first layer keeps the largest rank. Throws `INVALID_OPTION`,
 * `MISSING_DATA` where a layer has fewer directions.
 * Source: Paischer et al. 2024, arXiv:2410.07170, as PEFT computes it.
 * Differs: an exact decomposition instead of a randomised one; ties go to the earlier layer; one pass over the data that
 * is given, where PEFT repeats it until the directions stand still.
 */
export function eva(directions: ReadonlyMap<string, PrincipalDirections>, given: Partial<EvaOptions> = {}): EvaStart {
  const { rank, alpha, rho, adjustScaling, whiten } = parseOptions(options, given, "eva");
  if (rho < 1) {
    throw new LoomweightError({
      code: "INVALID_OPTION",
      problem: "eva needs as many directions as there are ranks",
      option: "eva.rho",
      expected: "at least 1",
      found: String(rho),
    });
  }
  const most = evaCount({ rank, rho });
  const ranks = distributedRanks(directions, most, rank * directions.size);
  const layers = new Map<string, { A: Tensor<"float64">; rank: number; alpha: number }>();
  const rankPattern: Record<string, number> = {};
  const alphaPattern: Record<string, number> = {};
  const removed: string[] = [];
  for (const [path, own] of ranks) {
    if (own === 0) {
      removed.push(path);
      continue;
    }
    const ownAlpha = adjustScaling ? (alpha * own) / rank : alpha;
    if (own !== rank) rankPattern[path] = own;
    if (ownAlpha !== alpha) alphaPattern[path] = ownAlpha;
    const A = leading(directions.get(path) as PrincipalDirections, own, whiten);
    layers.set(path, { A, rank: own, alpha: ownAlpha });
  }
  return { layers, rankPattern, alphaPattern, removed };
}

/** Rank of each layer: the `budget` largest shares of variance, counted by layer. */
function distributedRanks(
  directions: ReadonlyMap<string, PrincipalDirections>,
  most: number,
  budget: number,
): Map<string, number> {
  const pool: { path: string; ratio: number }[] = [];
  for (const [path, { ratios }] of directions) {
    if (ratios.length < most) {
      throw new LoomweightError({
        code: "MISSING_DATA",
        problem: "eva has too few directions of a layer's inputs",
        node: path,
        expected: `${most} directions (rho · rank)`,
        found: String(ratios.length),
        fix: "Give larger batches of inputs, or a smaller rank or rho.",
      });
    }
    for (const ratio of ratios.subarray(0, most)) pool.push({ path, ratio });
  }
  pool.sort((a, b) => b.ratio - a.ratio); // stable: ties keep the layers' order
  const ranks = new Map([...directions.keys()].map((path) => [path, 0]));
  for (const { path } of pool.slice(0, budget)) ranks.set(path, (ranks.get(path) as number) + 1);
  const owners: string[] = [];
  for (const [path, own] of directions) {
    const owner = owners.find((other) => sameRows(directions.get(other)?.components as Tensor, own.components));
    if (owner === undefined) {
      owners.push(path);
      continue;
    }
    const [first, second] = [ranks.get(owner) as number, ranks.get(path) as number];
    ranks.set(owner, Math.max(first, second));
    ranks.set(path, Math.min(first, second));
  }
  return ranks;
}

function leading({ components, singularValues }: PrincipalDirections, rank: number, whiten: boolean) {
  const width = components.shape[1];
  const rows = (contiguousData(components) as Float64Array).slice(0, rank * width);
  if (whiten) for (let i = 0; i < rows.length; i++) rows[i] /= Math.sqrt(singularValues[Math.floor(i / width)]);
  return fromData("float64", rows, [rank, width]) as Tensor<"float64">;
}

function sameRows(a: Tensor, b: Tensor): boolean {
  if (a === b) return true;
  if (a.shape[0] !== b.shape[0] || a.shape[1] !== b.shape[1]) return false;
  const [x, y] = [contiguousData(a) as Float64Array, contiguousData(b) as Float64Array];
  return x.every((value, i) => value === y[i]);
}
