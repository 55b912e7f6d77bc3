import { exponential, logarithm } from "@loomweight/kernels";
import { LoomweightError, type Tensor } from "@loomweight/tensor";
import { type Matrix, readSymmetric, writeMatrix } from "./core/dense.ts";
import { requireNonNegative, requireWhole } from "./core/options.ts";
import { symmetricEigen, symmetricFunction } from "./core/symmetric-eigen.ts";

/** Eigenvalues down to this times -largest count as rounding of 0. */
const rounding = { float32: 1e-5, float64: 1e-10 } as const;

function eigenOf(name: string, a: Tensor): { values: Float64Array; vectors: Float64Array; n: number } {
  const matrix = readSymmetric(a, { function: name, operand: "a" });
  const eigen = symmetricEigen(matrix);
  const [least, most] = [eigen.values[0], eigen.values[eigen.values.length - 1]];
  if (least < 0 && least < -rounding[a.dtype as Matrix["dtype"]] * Math.max(most, 0)) {
    throw new LoomweightError({
      code: "NOT_POSITIVE_DEFINITE",
      problem: `${name}: the matrix has a negative eigenvalue`,
      tensor: "a",
      expected: "a symmetric positive semidefinite matrix",
      found: `${least}, the largest is ${most}`,
    });
  }
  return { ...eigen, n: matrix.rows };
}

/**
 * The symmetric positive semidefinite square root of a [n, n], through eigh; eigenvalues that are negative by rounding
 * count as 0. Throws `NOT_POSITIVE_DEFINITE`, `NOT_SYMMETRIC`, `SHAPE_MISMATCH`, `UNSUPPORTED_DTYPE`, `NOT_FINITE`.
 */
export function sqrtm(a: Tensor): Matrix {
  const { n, ...eigen } = eigenOf("sqrtm", a);
  const root = symmetricFunction(eigen, (value) => Math.sqrt(Math.max(0, value)));
  return writeMatrix(root.values, [n, n], a.dtype as Matrix["dtype"]);
}

export interface InverseRootOptions {
  /** Added to every eigenvalue, as Shampoo and whitening do. Default 0. */
  readonly shift?: number;
}

/**
 * a^(-1/p) for symmetric positive definite a [n, n], through eigh: p = 1 is the inverse, 2 whitens, 4 is Shampoo's. p is a
 * whole number of at least 1. Throws `SINGULAR_MATRIX` for an eigenvalue of 0 (after the shift), and as `sqrtm`.
 */
export function inverseRoot(a: Tensor, p: number, options: InverseRootOptions = {}): Matrix {
  requireWhole("inverseRoot", "p", p, 1, 1024);
  const shift = requireNonNegative("inverseRoot", "shift", options.shift ?? 0);
  const { n, ...eigen } = eigenOf("inverseRoot", a);
  if (eigen.values[0] + shift <= 0) {
    throw new LoomweightError({
      code: "SINGULAR_MATRIX",
      problem: "inverseRoot: the matrix has no inverse",
      tensor: "a",
      found: `the eigenvalue ${eigen.values[0]}`,
      fix: "Pass a `shift` above 0.",
    });
  }
  const power = symmetricFunction(eigen, (value) => 1 / rootOf(value + shift, p));
  return writeMatrix(power.values, [n, n], a.dtype as Matrix["dtype"]);
}

/** x^(1/p) for x > 0: the same on every platform. Powers of two by square roots, else by logarithm and one Newton step. */
function rootOf(x: number, p: number): number {
  if (p === 1) return x;
  if (p % 2 === 0) return rootOf(Math.sqrt(x), p / 2);
  const y = exponential(logarithm(x) / p);
  let power = 1;
  for (let i = 1; i < p; i++) power *= y;
  return y - (y - x / power) / p;
}
