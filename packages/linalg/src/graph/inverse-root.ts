import { abs, div, matMul, max, mul, named, pow, reduceMax, reduceSum, sub, type Value } from "@loomweight/graph";
import { fromFloat64, LoomweightError, type Tensor } from "@loomweight/tensor";
import { identity } from "../core/dense.ts";
import { requireWhole } from "../core/options.ts";
import { sizesOf } from "./newton-schulz.ts";

export interface NewtonInverseRootOptions {
  /** Rounds; each multiplies the reach by about 2.4, so 24 (the default) serve conditions up to some 1e6. */
  readonly rounds?: number;
}

/**
 * a^(-1/p) of symmetric positive definite a [n, n] by products alone (coupled Newton iteration: Guo and Higham 2006, as
 * in Shampoo): t = ((p + 1) I - m) / p, x <- x t, m <- t^p m. A tensor is computed at once; a value of a graph adds nodes.
 * `inverseRoot` is the exact one. Precision falls with the condition of a: in float32 it is at most about 1e6. Throws
 * `SHAPE_MISMATCH`, `UNSUPPORTED_DTYPE`, `INVALID_OPTION`.
 */
export function newtonInverseRoot(a: Tensor, p: number, options?: NewtonInverseRootOptions): Tensor;
export function newtonInverseRoot(a: Value, p: number, options?: NewtonInverseRootOptions): Value;
export function newtonInverseRoot(a: Value, p: number, options: NewtonInverseRootOptions = {}): Value {
  const [n, columns] = sizesOf("newtonInverseRoot", a);
  requireWhole("newtonInverseRoot", "p", p, 1, 64);
  const rounds = requireWhole("newtonInverseRoot", "rounds", options.rounds ?? 24, 1, 200);
  const { dtype } = a;
  if (n !== columns || (dtype !== "float32" && dtype !== "float64")) {
    throw new LoomweightError({
      code: n !== columns ? "SHAPE_MISMATCH" : "UNSUPPORTED_DTYPE",
      problem: "newtonInverseRoot: a square matrix of float32 or float64 is needed",
      tensor: "a",
      found: `${dtype} [${n}, ${columns}]`,
    });
  }
  const unit = fromFloat64(identity(n).values, [n, n], dtype);
  return named("newtonInverseRoot", () => {
    const largest = max(reduceMax(abs(a)), 1e-30);
    const near = div(a, largest);
    const size = reduceMax(reduceSum(abs(near), [1])); // at least the largest eigenvalue
    const start = (1 + p) / 2;
    let m: Value = mul(div(near, size), start);
    let x: Value = mul(unit, start ** (1 / p));
    for (let round = 0; round < rounds; round++) {
      const t = div(sub(mul(unit, p + 1), m), p);
      x = matMul(x, t);
      m = matMul(power(t, p), m);
    }
    // the scale is taken out in two steps: the product of both factors may leave the range
    return mul(mul(x, pow(size, -1 / p)), pow(largest, -1 / p));
  });
}

function power(t: Value, p: number): Value {
  if (p === 1) return t;
  const half = power(t, p >> 1);
  const square = matMul(half, half);
  return p % 2 === 0 ? square : matMul(square, t);
}
