import { conv, gemm, matMul, mul, reshape, transpose, type Value } from "@loomweight/graph";
import { boolean, finite, integer, LoomweightError, type OptionValues, zeros } from "@loomweight/tensor";
import type { InitContext, LayerInGraph, ParamShape } from "./define.ts";
import type { LayerShape } from "./layer.ts";

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

/** A [rank, in], B [out, rank]. */
export function lowRankShapes({ rank }: LowRankOptions): { A: ParamShape; B: ParamShape } {
  return { A: [rank, "in"], B: ["out", rank] };
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
export function lowRankInit(layer: LayerShape, { rank }: LowRankOptions, { random }: InitContext) {
  if (layer.kind === "embedding") {
    return { A: zeros([rank, layer.in]), B: random.normal("B", [layer.out, rank], 1) };
  }
  const bound = 1 / Math.sqrt(layer.in);
  return { A: random.uniform("A", [rank, layer.in], -bound, bound), B: zeros([layer.out, rank]) };
}

/**
 * (x Aᵀ) Bᵀ without scale, in the layer's own form: a convolution with A's kernels then a 1×1 convolution with B; an
 * embedding looks up Aᵀ.
 */
export function lowRankForward(
  layer: LayerInGraph,
  { A, B }: { readonly A: Value; readonly B: Value },
  x: Value,
  { rank }: LowRankOptions,
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
      const kernel = layer.storedShape.slice(1);
      const hidden = layer.operation(x, reshape(A, [rank, ...kernel]));
      return conv(hidden, reshape(B, [layer.out, rank, ...kernel.slice(1).map(() => 1)]));
    }
  }
}

/** Shapes of the factors in the file: those of a convolution keep its kernel, B's is 1×1. */
export function lowRankFileShape(
  param: string,
  layer: LayerShape,
  { rank }: LowRankOptions,
): readonly number[] | undefined {
  if (layer.kind !== "convolution") return undefined;
  const kernel = layer.storedShape.slice(1);
  if (param === "A") return [rank, ...kernel];
  return param === "B" ? [layer.out, rank, ...kernel.slice(1).map(() => 1)] : undefined;
}
