import { LoomweightError, type Tensor } from "@loomweight/tensor";
import { type Dense, identity, type Matrix, readMatrix, requireSameRows, scaled, writeMatrix } from "./core/dense.ts";
import { type Lu, luFactor, luSolve, solveTriangularInPlace } from "./core/lu.ts";

/** Throws `SINGULAR_MATRIX` where the factors have no pivot, or a pivot that is rounding only. */
export function requireRegular(name: string, { n, lu }: Lu): void {
  let largest = 0;
  for (let i = 0; i < n; i++) largest = Math.max(largest, Math.abs(lu[i * n + i]));
  for (let i = 0; i < n; i++) {
    const pivot = Math.abs(lu[i * n + i]);
    if (pivot > n * 2 ** -53 * largest) continue;
    throw new LoomweightError({
      code: "SINGULAR_MATRIX",
      problem: `${name}: the matrix is singular to working precision`,
      tensor: "a",
      found: `pivot ${lu[i * n + i]} in column ${i}, the largest is ${largest}`,
      fix: "Use lstsq or pinv, which take rank-deficient matrices.",
    });
  }
}

/** a x = b through LU, for values; a is scaled first. */
export function solveDense(name: string, a: Dense, b: Dense): Dense {
  const { matrix, scale } = scaled(a);
  const factors = luFactor(matrix);
  requireRegular(name, factors);
  const x = luSolve(factors, b);
  return scale === 1 ? x : { ...x, values: x.values.map((value) => value / scale) };
}

/**
 * x [n, k] with a x = b, for square a [n, n] and b [n, k], by LU with partial pivoting in float64. Throws
 * `SINGULAR_MATRIX`, `SHAPE_MISMATCH`, `UNSUPPORTED_DTYPE`, `NOT_FINITE`.
 */
export function solve(a: Tensor, b: Tensor): Matrix {
  const left = readMatrix(a, { function: "solve", operand: "a" }, { square: true });
  const right = readMatrix(b, { function: "solve", operand: "b" });
  requireSameRows("solve", left, right);
  const x = solveDense("solve", left, right);
  return writeMatrix(x.values, [x.rows, x.columns], a.dtype as Matrix["dtype"]);
}

/** The inverse of square a [n, n]. Prefer `solve` where it is only multiplied with. Throws as `solve`. */
export function inverse(a: Tensor): Matrix {
  const matrix = readMatrix(a, { function: "inverse", operand: "a" }, { square: true });
  const n = matrix.rows;
  return writeMatrix(solveDense("inverse", matrix, identity(n)).values, [n, n], a.dtype as Matrix["dtype"]);
}

export interface SolveTriangularOptions {
  /** Which triangle of a is read; default true, the lower. */
  readonly lower?: boolean;
  /** Solve a^T x = b. Default false. */
  readonly transpose?: boolean;
  /** Take the diagonal to be 1. Default false. */
  readonly unitDiagonal?: boolean;
}

/** x [n, k] with a x = b for triangular a [n, n]; the other triangle is not read. Throws `SINGULAR_MATRIX` for a 0 on the diagonal, and as `solve`. */
export function solveTriangular(a: Tensor, b: Tensor, options: SolveTriangularOptions = {}): Matrix {
  const { lower = true, transpose = false, unitDiagonal = false } = options;
  const left = readMatrix(a, { function: "solveTriangular", operand: "a" }, { square: true });
  const right = readMatrix(b, { function: "solveTriangular", operand: "b" });
  requireSameRows("solveTriangular", left, right);
  const n = left.rows;
  for (let i = 0; i < n && !unitDiagonal; i++) {
    if (left.values[i * n + i] !== 0) continue;
    throw new LoomweightError({
      code: "SINGULAR_MATRIX",
      problem: "solveTriangular: the matrix is singular",
      tensor: "a",
      found: `0 at [${i}, ${i}]`,
    });
  }
  const x = solveTriangularInPlace(left, right.values, right.columns, { lower, transpose, unit: unitDiagonal });
  return writeMatrix(x, [n, right.columns], a.dtype as Matrix["dtype"]);
}
