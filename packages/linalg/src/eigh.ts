import type { Tensor } from "@loomweight/tensor";
import { type Matrix, readSymmetric, transposed, writeMatrix } from "./core/dense.ts";
import { canonicalRowsInto } from "./core/signs.ts";
import { symmetricEigen, symmetricEigenvalues } from "./core/symmetric-eigen.ts";

/** a = eigenvectors diag(eigenvalues) eigenvectors^T. */
export interface Eigh {
  /** [n], ascending. */
  readonly eigenvalues: Matrix;
  /** [n, n], orthonormal columns; the entry of largest magnitude of each is positive. */
  readonly eigenvectors: Matrix;
}

/**
 * Eigenvalues and eigenvectors of symmetric a [n, n], in float64: blocked Householder tridiagonalisation, then QL (up to
 * 24) or divide and conquer (Cuppen 1981). The error of an eigenvalue is a small multiple of 2^-53 times the largest
 * magnitude. Throws `NOT_SYMMETRIC` beyond 1e-5 (float32) or 1e-11 (float64) of the largest entry; the lower triangle
 * is read. Throws `SHAPE_MISMATCH`, `UNSUPPORTED_DTYPE`, `NOT_FINITE`, `NOT_CONVERGED`.
 */
export function eigh(a: Tensor): Eigh {
  const matrix = readSymmetric(a, { function: "eigh", operand: "a" });
  const n = matrix.rows;
  const { values, vectors } = symmetricEigen(matrix);
  canonicalRowsInto(vectors, n);
  const dtype = a.dtype as Matrix["dtype"];
  return {
    eigenvalues: writeMatrix(values, [n], dtype),
    eigenvectors: writeMatrix(transposed({ rows: n, columns: n, values: vectors }).values, [n, n], dtype),
  };
}

/** The eigenvalues of symmetric a [n, n], ascending: [n]. Throws as `eigh`. */
export function eigvalsh(a: Tensor): Matrix {
  const values = symmetricEigenvalues(readSymmetric(a, { function: "eigvalsh", operand: "a" }));
  return writeMatrix(values, [values.length], a.dtype as Matrix["dtype"]);
}
