import { concat, matMul, reshape, slice, transpose, unsqueeze, type Value } from "@loomweight/graph";
import { LoomweightError } from "@loomweight/tensor";

export interface QkOptions {
  readonly heads: number;
  /** Bias of the queries [C]; that of the keys adds the same to all scores of a query, which softmax takes away. */
  readonly queryBias?: Value;
}

/**
 * Queries and keys of attention as one matrix a head: scores x_n · M_h x_m with M_h = Wq_hᵀ Wk_h, so that one grid codes
 * what matters for the scores and not both factors. Gives `product` [heads · C, C], to be coded row by row, and, with a bias
 * of the queries, `keyBias` [heads, C]: its product with x_m is added to column m. Weights [out, in]; exact but for a
 * number a query. Not for rotary embeddings or norms between projection and score.
 *
 * Source: Liu et al. 2023, arXiv:2302.02210, §4.3. Differs: the bias is kept (the published code drops it). Throws
 * `SHAPE_MISMATCH`.
 */
export function qkReparameterize(
  queryWeight: Value,
  keyWeight: Value,
  { heads, queryBias }: QkOptions,
): { readonly product: Value; readonly keyBias?: Value } {
  const [rows, width] = queryWeight.shape.map(Number);
  const fits = keyWeight.shape.length === 2 && keyWeight.shape.every((size, axis) => size === queryWeight.shape[axis]);
  if (!fits || rows % heads !== 0) {
    throw new LoomweightError({
      code: "SHAPE_MISMATCH",
      problem: "queries and keys do not split into these heads",
      expected: `two weights of one shape, rows a multiple of ${heads}`,
      found: `[${queryWeight.shape}] and [${keyWeight.shape}]`,
    });
  }
  const size = rows / heads;
  const part = (x: Value, head: number) => slice(x, { starts: [head * size], ends: [(head + 1) * size], axes: [0] });
  const products = Array.from({ length: heads }, (_, head) =>
    matMul(transpose(part(queryWeight, head), [1, 0]), part(keyWeight, head)),
  );
  const product = products.length === 1 ? products[0] : concat(products, 0);
  if (queryBias === undefined) return { product };
  const biases = Array.from({ length: heads }, (_, head) =>
    reshape(matMul(unsqueeze(part(queryBias, head), [0]), part(keyWeight, head)), [1, width]),
  );
  return { product, keyBias: biases.length === 1 ? biases[0] : concat(biases, 0) };
}
