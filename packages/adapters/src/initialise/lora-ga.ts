import { gemm, mul, slice } from "@loomweight/graph";
import { svd } from "@loomweight/linalg";
import { cast, shapeMismatch, type Tensor } from "@loomweight/tensor";
import { requireRank, type StartFromBase, scaleOption } from "./start-from-base.ts";

export interface LoraGaOptions {
  readonly rank: number;
  /** s of W + s · B A. */
  readonly scale: number;
  /** Which of the 2 · rank leading directions each factor gets: see `loraGa`. Default `ArB2r`, as PEFT. */
  readonly direction?: "ArBr" | "A2rBr" | "ArB2r";
  /** B is multiplied by out^¼ / √stableGamma. Default 16. */
  readonly stableGamma?: number;
}

/**
 * LoRA-GA: the first step of LoRA follows the gradient G [out, in] = U S Vᵀ of the loss by the weight. A is made of rows of
 * Vᵀ, B of columns of U S: the odd and the even ones (ArBr), the second and the first `rank` (A2rBr), or the first and the
 * second (ArB2r), B times out^¼ / √stableGamma; s · B A is taken out of W [out, in]. float64. Throws
 * `INVALID_OPTION`, `SHAPE_MISMATCH`.
 * Source: Wang et al. 2024, arXiv:2407.05000, as PEFT computes it (B times S; the paper leaves S out), scale "stable".
 */
export function loraGa(
  weight: Tensor,
  gradient: Tensor,
  { rank, scale, direction = "ArB2r", stableGamma = 16 }: LoraGaOptions,
): StartFromBase {
  const [out, width] = requireRank("loraGa", weight, rank, 2 * rank);
  const s = scaleOption("loraGa", scale);
  scaleOption("loraGa", stableGamma);
  if (gradient.shape.length !== 2 || gradient.shape[0] !== out || gradient.shape[1] !== width) {
    throw shapeMismatch({
      tensor: "gradient",
      expected: { from: "weight", shape: weight.shape },
      got: { from: "gradient", shape: gradient.shape },
    });
  }
  const { u, singularValues, vt } = svd(cast(gradient, "float64"), { rank: 2 * rank });
  const [rows, columns] = {
    ArBr: [every(1, 2), every(0, 2)],
    A2rBr: [every(rank, 1), every(0, 1)],
    ArB2r: [every(0, 1), every(rank, 1)],
  }[direction];
  function every(first: number, step: number) {
    return (values: Tensor, axis: number) =>
      slice(values, {
        starts: [first],
        ends: [Math.min(2 * rank, first + step * rank)],
        axes: [axis],
        steps: [step],
      }) as Tensor;
  }
  const factor = out ** 0.25 / Math.sqrt(stableGamma);
  const A = rows(vt, 0) as Tensor<"float64">;
  const B = mul(mul(columns(u, 1), columns(singularValues, 0)), factor) as Tensor<"float64">;
  return { A, B, base: gemm(mul(B, -s), A, cast(weight, "float64")) as Tensor<"float64"> };
}
