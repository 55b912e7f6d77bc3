import { gemm, matMul, mul, reshape, slice, transpose } from "@loomweight/graph";
import { solve, svd } from "@loomweight/linalg";
import { cast, contiguousData, fromData, shapeMismatch, type Tensor } from "@loomweight/tensor";
import { requireRank, type StartFromBase, scaleOption } from "./start-from-base.ts";

export interface CordaOptions {
  readonly rank: number;
  /** s of W + s · B A. */
  readonly scale: number;
  /** `kpm` keeps what the data uses and trains the rest; `ipm` trains what the data uses most. Default `ipm`, as PEFT. */
  readonly mode?: "ipm" | "kpm";
}

/** Added to the covariance's diagonal, as a share of its mean. */
const damping = 0.01;

/**
 * CorDA: W C = U S Vᵀ with the covariance C [in, in] of the layer's inputs, damped by 0.01 of its mean diagonal; the
 * `rank` largest (ipm) or smallest (kpm) directions, s · B A = U S Vᵀ C⁻¹, are taken out of W [out, in] and trained.
 * float64. Throws `INVALID_OPTION`, `SHAPE_MISMATCH`, `SINGULAR_MATRIX` for a covariance of zeros.
 * Source: Yang et al. 2024, arXiv:2406.05223, as PEFT computes it.
 * Differs: one damping; PEFT, in float32, doubles it until its inverse is good.
 */
export function corda(weight: Tensor, covariance: Tensor, { rank, scale, mode = "ipm" }: CordaOptions): StartFromBase {
  const [out, width] = requireRank("corda", weight, rank, rank);
  const s = scaleOption("corda", scale);
  if (covariance.shape.length !== 2 || covariance.shape[0] !== width || covariance.shape[1] !== width) {
    throw shapeMismatch({
      tensor: "covariance",
      expected: { from: "weight", shape: [width, width] },
      got: { from: "covariance", shape: covariance.shape },
    });
  }
  const W = cast(weight, "float64");
  const entries = Float64Array.from(contiguousData(cast(covariance, "float64")) as Float64Array);
  let trace = 0;
  for (let i = 0; i < width; i++) trace += entries[i * width + i];
  for (let i = 0; i < width; i++) entries[i * width + i] += (damping * trace) / width;
  const C = fromData("float64", entries, covariance.shape as [number, number]);
  const { u, singularValues, vt } = svd(matMul(W, C) as Tensor);
  const count = Math.min(out, width);
  const first = mode === "ipm" ? 0 : count - rank;
  const part = (values: Tensor, axis: number) =>
    slice(values, { starts: [first], ends: [first + rank], axes: [axis] }) as Tensor;
  const roots = fromData(
    "float64",
    Float64Array.from(contiguousData(part(singularValues, 0)) as Float64Array, (value) => Math.sqrt(value / s)),
    [rank],
  );
  // V C⁻¹ without the inverse: C is symmetric.
  const right = transpose(solve(C, transpose(part(vt, 0), [1, 0]) as Tensor), [1, 0]);
  const A = mul(right, reshape(roots, [rank, 1])) as Tensor<"float64">;
  const B = mul(part(u, 1), roots) as Tensor<"float64">;
  return { A, B, base: gemm(mul(B, -s), A, W) as Tensor<"float64"> };
}
