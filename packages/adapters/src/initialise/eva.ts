import {
  boolean,
  choice,
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
import { distributeRanks, type RankedLayer } from "./rank-distribution.ts";

/** What ranks are dealt out by. */
export const evaMetrics = ["ratio", "raw", "sum", "max"] as const;
export type EvaMetric = (typeof evaMetrics)[number];

const options = {
  rank: integer(8, "mean rank of the layers", { min: 1 }),
  alpha: positive(8, "alpha of a layer of the mean rank"),
  rho: positive(2, "a layer's rank is at most rho · rank; at least 1"),
  adjustScaling: boolean(true, "alpha follows the rank, so that every layer's update is scaled alike"),
  whiten: boolean(false, "divide each direction by the root of its singular value"),
  scaleBySingularValues: boolean(false, "multiply each direction by its singular value over the layer's largest"),
  metric: choice(
    evaMetrics,
    "ratio",
    "ratio: share of the layer's variance; raw: the variance; sum, max: over the sum or the largest of those looked at",
  ),
};
/** Options of `eva`, checked. */
export type EvaOptions = OptionValues<typeof options>;

/** Layers of which `eva` knows more than their directions. */
export interface EvaLayers {
  /** Ranks of single layers, where they differ from the mean. */
  readonly ranks?: ReadonlyMap<string, number>;
  readonly alphas?: ReadonlyMap<string, number>;
  /** Layer → the one whose inputs it has too; default: layers of equal directions belong to the first of them. */
  readonly owners?: ReadonlyMap<string, string>;
}

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
 * Source: Paischer et al. 2024, arXiv:2410.07170, as PEFT computes it; the other metrics and scaling by singular values
 * as in the authors' code. Differs: an exact decomposition instead of a randomised one; ties go to the earlier layer.
 * `evaDirections` finds the directions of batches of inputs and says when there were enough.
 */
export function eva(
  directions: ReadonlyMap<string, PrincipalDirections>,
  given: Partial<EvaOptions> = {},
  known: EvaLayers = {},
): EvaStart {
  const checked = evaOptions(given);
  const { rank, alpha, rho, adjustScaling, metric } = checked;
  const rankOf = (path: string) => known.ranks?.get(path) ?? rank;
  const ranked: RankedLayer[] = [];
  let budget = 0;
  const owners = known.owners ?? ownersOf(directions);
  for (const [path, own] of directions) {
    const count = evaCount({ rank: rankOf(path), rho });
    if (own.ratios.length < count) throw tooFew(path, count, own.ratios.length);
    budget += rankOf(path);
    ranked.push({ path, shares: evaShares(own, metric, count), owner: owners.get(path) });
  }
  const layers = new Map<string, { A: Tensor<"float64">; rank: number; alpha: number }>();
  const rankPattern: Record<string, number> = {};
  const alphaPattern: Record<string, number> = {};
  const removed: string[] = [];
  for (const [path, own] of distributeRanks(ranked, budget)) {
    if (own === 0) {
      removed.push(path);
      continue;
    }
    const usual = known.alphas?.get(path) ?? alpha;
    const ownAlpha = adjustScaling ? (usual * own) / rankOf(path) : usual;
    if (own !== rank) rankPattern[path] = own;
    if (ownAlpha !== alpha) alphaPattern[path] = ownAlpha;
    const A = leading(directions.get(path) as PrincipalDirections, own, checked);
    layers.set(path, { A, rank: own, alpha: ownAlpha });
  }
  return { layers, rankPattern, alphaPattern, removed };
}

/** Checks options. Throws `UNKNOWN_OPTION`, `INVALID_OPTION`. */
export function evaOptions(given: Partial<EvaOptions>): EvaOptions {
  const checked = parseOptions(options, given, "eva");
  if (checked.rho < 1) {
    throw new LoomweightError({
      code: "INVALID_OPTION",
      problem: "eva needs as many directions as there are ranks",
      option: "eva.rho",
      expected: "at least 1",
      found: String(checked.rho),
    });
  }
  if (checked.whiten && checked.scaleBySingularValues) {
    throw new LoomweightError({
      code: "INVALID_OPTION",
      problem: "eva divides by singular values or multiplies by them",
      option: "eva.scaleBySingularValues",
      expected: "one of whiten and scaleBySingularValues",
      found: "both",
    });
  }
  return checked;
}

/** What the first `count` directions of a layer are worth. */
export function evaShares({ ratios, variances }: PrincipalDirections, metric: EvaMetric, count: number): Float64Array {
  const looked = variances.subarray(0, count);
  switch (metric) {
    case "ratio":
      return ratios.subarray(0, count);
    case "raw":
      return looked;
    case "sum":
      return over(
        looked,
        looked.reduce((sum, value) => sum + value, 0),
      );
    case "max":
      return over(looked, looked[0]);
  }
}

function over(values: Float64Array, divisor: number): Float64Array {
  return divisor > 0 ? values.map((value) => value / divisor) : values;
}

/** Layers with the same directions → the first of them. */
function ownersOf(directions: ReadonlyMap<string, PrincipalDirections>): Map<string, string> {
  const owners = new Map<string, string>();
  for (const [path, own] of directions) {
    const first = [...owners.values()].find((other) =>
      sameRows(directions.get(other)?.components as Tensor, own.components),
    );
    owners.set(path, first ?? path);
  }
  return owners;
}

function leading(
  { components, singularValues }: PrincipalDirections,
  rank: number,
  { whiten, scaleBySingularValues }: EvaOptions,
) {
  const width = components.shape[1];
  const rows = (contiguousData(components) as Float64Array).slice(0, rank * width);
  const sizeOf = (row: number) => singularValues[row] / singularValues[0];
  if (whiten) for (let i = 0; i < rows.length; i++) rows[i] /= Math.sqrt(singularValues[Math.floor(i / width)]);
  if (scaleBySingularValues) for (let i = 0; i < rows.length; i++) rows[i] *= sizeOf(Math.floor(i / width));
  return fromData("float64", rows, [rank, width]) as Tensor<"float64">;
}

function sameRows(a: Tensor, b: Tensor): boolean {
  if (a === b) return true;
  if (a.shape[0] !== b.shape[0] || a.shape[1] !== b.shape[1]) return false;
  const [x, y] = [contiguousData(a) as Float64Array, contiguousData(b) as Float64Array];
  return x.every((value, i) => value === y[i]);
}

function tooFew(path: string, expected: number, found: number): LoomweightError {
  return new LoomweightError({
    code: "MISSING_DATA",
    problem: "eva has too few directions of a layer's inputs",
    node: path,
    expected: `${expected} directions (rho · rank)`,
    found: String(found),
    fix: "Give larger batches of inputs, or a smaller rank or rho.",
  });
}
