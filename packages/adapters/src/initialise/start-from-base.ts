import { LoomweightError, type Tensor } from "@loomweight/tensor";

/** Factors that were taken out of a weight, float64: weight = base + s · B A. */
export interface StartFromBase {
  /** [rank, in]. */
  readonly A: Tensor<"float64">;
  /** [out, rank]. */
  readonly B: Tensor<"float64">;
  /** [out, in], what training stands on. */
  readonly base: Tensor<"float64">;
}

/** [out, in] of a weight that has `needed` directions. Throws `SHAPE_MISMATCH`, `INVALID_OPTION`. */
export function requireRank(name: string, weight: Tensor, rank: number, needed: number): readonly [number, number] {
  const [out, width] = weight.shape;
  if (weight.shape.length !== 2) {
    throw new LoomweightError({
      code: "SHAPE_MISMATCH",
      problem: `${name} starts from a matrix`,
      expected: "[out, in]",
      found: `[${weight.shape}]`,
    });
  }
  if (Number.isInteger(rank) && rank >= 1 && needed <= Math.min(out, width)) return [out, width];
  throw new LoomweightError({
    code: "INVALID_OPTION",
    problem: `${name} takes ${needed} directions of a weight that has ${Math.min(out, width)}`,
    option: "rank",
    expected: `a whole number from 1 to ${Math.floor((Math.min(out, width) * rank) / needed)}`,
    found: String(rank),
  });
}

/** Throws `INVALID_OPTION` for a scale that is not positive: the start divides by it. */
export function scaleOption(name: string, scale: number): number {
  if (scale > 0 && Number.isFinite(scale)) return scale;
  throw new LoomweightError({
    code: "INVALID_OPTION",
    problem: `${name} divides by the scale of the update`,
    option: "scale",
    expected: "a number above 0",
    found: String(scale),
  });
}
