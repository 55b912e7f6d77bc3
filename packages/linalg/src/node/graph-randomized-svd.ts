import type { SessionOptions } from "@loomweight/graph/node";
import { cast, type Tensor } from "@loomweight/tensor";
import { requireMatrix } from "../core/dense.ts";
import { sketchWidth } from "../core/randomized.ts";
import { type RandomizedSvd, type RandomizedSvdOptions, randomizedSvdOf } from "../randomized-svd.ts";
import { loadProducts } from "./products.ts";

export interface GraphRandomizedSvdOptions extends RandomizedSvdOptions, SessionOptions {}

/**
 * `randomizedSvd` with its products in onnxruntime, on all cores, in the dtype of a; bases are orthonormalised in
 * float64. For float32 a [m, n] the products' rounding adds about 1e-7 times the largest singular value to the error.
 * Throws as `randomizedSvd` and `openSession`.
 */
export async function graphRandomizedSvd(a: Tensor, options: GraphRandomizedSvdOptions): Promise<RandomizedSvd> {
  requireMatrix(a, { function: "graphRandomizedSvd", operand: "a" });
  const { rank, oversampling, powerIterations, seed, ...session } = options ?? {};
  const [m, n] = a.shape;
  sketchWidth(m, n, options); // refuses options before anything is loaded
  const products = await loadProducts(a, session);
  try {
    const found = await randomizedSvdOf(products, { rank, oversampling, powerIterations, seed });
    const { dtype } = a;
    return {
      u: cast(found.u, dtype),
      singularValues: cast(found.singularValues, dtype),
      vt: cast(found.vt, dtype),
      errorBound: found.errorBound,
    };
  } finally {
    await products.close();
  }
}
