import { add, matMul, mul, reduceSum, reshape, type Value } from "@loomweight/graph";

// Parametrised hypercomplex multiplication: weights as sums of Kronecker products (Zhang et al. 2021, arXiv:2102.08597).

/** W [n, in / n, out / n], whole or as left [n, in / n, k] · right [n, k, out / n]. */
export type PhmFactor<V extends Value = Value> = V | { readonly left: V; readonly right: V };

/**
 * H [in, out] = Σᵢ Cᵢ ⊗ Wᵢ: rule C [n, n, n] (or left [n, n, 1] · right [n, 1, n]), W [n, a, c];
 * H[p · a + u, q · c + v] = Σᵢ Cᵢ[p, q] · Wᵢ[u, v].
 */
export function phmWeight(rule: PhmFactor, factor: PhmFactor): Value {
  const [c, w] = [whole(rule), whole(factor)];
  const n = Number(c.shape[0]);
  const [, a, b] = w.shape.map(Number);
  const spread = mul(reshape(c, [n, n, 1, n, 1]), reshape(w, [n, 1, a, 1, b]));
  return reshape(reduceSum(spread, [0], false), [n * a, n * b]);
}

function whole(factor: PhmFactor): Value {
  return "left" in factor ? matMul(factor.left, factor.right) : factor;
}

/** x H + b: the weight is [in, out], the other way round than a linear layer's. */
export function times(x: Value, weight: Value, bias: Value): Value {
  return add(matMul(x, weight), bias);
}
