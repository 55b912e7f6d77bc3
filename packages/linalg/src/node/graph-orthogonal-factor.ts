import { input } from "@loomweight/graph";
import { evaluate, type SessionOptions } from "@loomweight/graph/node";
import type { Tensor } from "@loomweight/tensor";
import { type Matrix, requireMatrix } from "../core/dense.ts";
import { type NewtonSchulzOptions, newtonSchulz } from "../graph/newton-schulz.ts";

export interface GraphOrthogonalFactorOptions extends NewtonSchulzOptions, SessionOptions {}

/**
 * The orthogonal polar factor of a [m, n] by `newtonSchulz` in onnxruntime: the fast way for large matrices of full rank,
 * in the dtype of a. `polar` is the exact one. Throws `SHAPE_MISMATCH`, `UNSUPPORTED_DTYPE`, `NOT_FINITE`, and what
 * `evaluate` throws (`RUNTIME_MISSING`, …).
 */
export async function graphOrthogonalFactor(a: Tensor, options: GraphOrthogonalFactorOptions = {}): Promise<Matrix> {
  const { smallest, rounds, ...session } = options;
  requireMatrix(a, { function: "graphOrthogonalFactor", operand: "a" });
  const x = input("a", a.dtype, a.shape);
  const u = newtonSchulz(x, { smallest, rounds });
  return (await evaluate({ u }, { a }, session)).u as Matrix;
}
