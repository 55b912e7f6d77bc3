import { type Dense, scaled } from "./dense.ts";
import { applyReflectors, blockSize } from "./householder.ts";
import { multiply, scaleRows } from "./multiply.ts";
import { tridiagonalEigen, tridiagonalEigenRoom } from "./tridiagonal-eigen.ts";
import { tridiagonalQl } from "./tridiagonal-ql.ts";
import { tridiagonalize, tridiagonalizeRoom } from "./tridiagonalize.ts";
import { unset, withWorkspace } from "./workspace.ts";

/** a = vectors^T diag(values) vectors: values ascending, vectors in the rows. */
export interface SymmetricEigen {
  readonly values: Float64Array;
  readonly vectors: Float64Array;
}

/** Eigenvalues and vectors of a symmetric matrix; the lower triangle is read. */
export function symmetricEigen(input: Dense): SymmetricEigen {
  const { matrix, scale } = scaled(input);
  const n = matrix.rows;
  const room = n * n + tridiagonalizeRoom(n) + tridiagonalEigenRoom(n) + 2 * blockSize * (n + blockSize);
  return withWorkspace("eigh", room, (kernels) => {
    const work = unset(kernels, n * n);
    work.set(matrix.values);
    const { diagonal, beside, vectors: reflectors, taus } = tridiagonalize(kernels, work, n);
    const { values, vectors } = tridiagonalEigen(kernels, diagonal, beside);
    applyReflectors(kernels, vectors, reflectors, taus, { rows: n, length: n, count: n - 1, offset: 1 });
    return { values: values.map((value) => value * scale), vectors: vectors.slice() };
  });
}

/** Eigenvalues alone, ascending: tridiagonalisation and QL without vectors. */
export function symmetricEigenvalues(input: Dense): Float64Array {
  const { matrix, scale } = scaled(input);
  const n = matrix.rows;
  return withWorkspace("eigvalsh", n * n + tridiagonalizeRoom(n), (kernels) => {
    const work = unset(kernels, n * n);
    work.set(matrix.values);
    const { diagonal, beside } = tridiagonalize(kernels, work, n);
    tridiagonalQl(diagonal, beside, undefined);
    return diagonal.sort().map((value) => value * scale);
  });
}

/** f(a) = V diag(f(values)) V^T for symmetric a. */
export function symmetricFunction({ values, vectors }: SymmetricEigen, f: (value: number) => number): Dense {
  const n = values.length;
  const v = { rows: n, columns: n, values: vectors };
  return multiply(v, scaleRows(v, values.map(f)), { transposeA: true });
}
