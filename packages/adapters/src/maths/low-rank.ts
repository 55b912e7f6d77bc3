import { conv, gemm, matMul, mul, reshape, transpose, type Value } from "@loomweight/graph";
import { boolean, finite, integer, LoomweightError, type OptionValues, type Tensor, zeros } from "@loomweight/tensor";
import type { InitContext, LayerInGraph, ParamShape } from "../define.ts";
import type { LayerShape } from "../layer.ts";

/** Options of every low-rank method. */
export const lowRankOptions = {
  rank: integer(8, "rank of the update", { min: 1 }),
  alpha: finite(8, "the update is scaled by alpha / rank (rsLoRA: alpha / √rank)"),
  rankStabilized: boolean(false, "rsLoRA: scale by alpha / √rank, so that large ranks keep learning"),
};
export type LowRankOptions = OptionValues<typeof lowRankOptions>;

/** s of W + s · B A. rsLoRA: Kalajdzievski 2023, arXiv:2312.03732. */
export function lowRankScale({ rank, alpha, rankStabilized }: LowRankOptions): number {
  return alpha / (rankStabilized ? Math.sqrt(rank) : rank);
}

/**
 * A [rank, in], B [out, rank]. A grouped convolution's A sees every channel and its B only a group's part of the rank,
 * which the groups must divide.
 */
export function lowRankShapes({ rank }: LowRankOptions, layer?: LayerShape): { A: ParamShape; B: ParamShape } {
  const groups = layer?.groups ?? 1;
  if (groups === 1) return { A: [rank, "in"], B: ["out", rank] };
  if (rank % groups !== 0) {
    throw new LoomweightError({
      code: "INVALID_OPTION",
      problem: "the groups of a convolution share the rank",
      option: "rank",
      expected: `a multiple of ${groups}`,
      found: String(rank),
    });
  }
  return { A: [rank, (layer as LayerShape).in * groups], B: ["out", rank / groups] };
}

/** The update of a grouped convolution connects channels of different groups, for which its weight has no place. */
export function requireUngrouped({ groups = 1 }: LayerShape): void {
  if (groups === 1) return;
  throw new LoomweightError({
    code: "UNSUPPORTED_LAYER",
    problem: `an adapter of a convolution with ${groups} groups cannot be folded into its weight`,
  });
}

/**
 * weight + s · B A, [out, in]. The small factor is scaled, not the product, and not by Gemm's own `alpha`, which ONNX
 * holds as float32.
 */
export function addLowRank(weight: Value, { A, B }: { readonly A: Value; readonly B: Value }, scale: number): Value {
  return gemm(mul(B, scale), A, weight);
}

/**
 * Fresh factors: A uniform in ±1/√in, B zero, as PEFT draws them (the paper draws a Gaussian A); an embedding's roles
 * are reversed: A zero, B normal. Either way B A = 0.
 */
export function lowRankInit(
  layer: LayerShape,
  { rank }: { readonly rank: number },
  { random }: Pick<InitContext, "random">,
): { A: Tensor; B: Tensor } {
  if (layer.kind === "embedding") {
    return { A: zeros([rank, layer.in]), B: random.normal("B", [layer.out, rank], 1) };
  }
  const groups = layer.groups ?? 1;
  const bound = 1 / Math.sqrt(layer.in * groups);
  return { A: random.uniform("A", [rank, layer.in * groups], -bound, bound), B: zeros([layer.out, rank / groups]) };
}

/**
 * (x Aᵀ) Bᵀ without scale, in the layer's own form: a convolution with A's kernels then a 1×1 convolution with B; an
 * embedding looks up Aᵀ.
 */
export function lowRankForward(
  layer: LayerInGraph,
  { A, B }: { readonly A: Value; readonly B: Value },
  x: Value,
  { rank }: { readonly rank: number },
): Value {
  switch (layer.kind) {
    case "linear":
    case "transposedLinear":
      return matMul(matMul(x, transpose(A, [1, 0])), transpose(B, [1, 0]));
    case "embedding":
      return matMul(layer.operation(x, transpose(A, [1, 0])), transpose(B, [1, 0]));
    case "normalization":
      throw new LoomweightError({ code: "UNSUPPORTED_LAYER", problem: "a normalization layer has no low-rank update" });
    case "convolution": {
      // A sees every channel of a grouped convolution, B only its group's part of the rank: as PEFT computes it.
      const groups = layer.groups ?? 1;
      const [channels, ...kernel] = layer.storedShape.slice(1);
      const hidden = layer.operation(x, reshape(A, [rank, channels * groups, ...kernel]), { groups: 1 });
      return conv(hidden, reshape(B, [layer.out, rank / groups, ...kernel.map(() => 1)]), undefined, {
        group: groups,
      });
    }
  }
}

/** Shapes of the factors in the file: those of a convolution keep its kernel, B's is 1×1. */
export function lowRankFileShape(
  param: string,
  layer: LayerShape,
  { rank }: { readonly rank: number },
): readonly number[] | undefined {
  if (layer.kind !== "convolution") return undefined;
  const groups = layer.groups ?? 1;
  const [channels, ...kernel] = layer.storedShape.slice(1);
  if (param === "A") return [rank, channels * groups, ...kernel];
  return param === "B" ? [layer.out, rank / groups, ...kernel.map(() => 1)] : undefined;
}
