import { exponential } from "@loomweight/kernels";
import { LoomweightError, type Tensor } from "@loomweight/tensor";
import { type Dense, frobenius, identity, type Matrix, readMatrix, writeMatrix } from "./core/dense.ts";
import { luFactor, luSolve } from "./core/lu.ts";
import { multiply } from "./core/multiply.ts";
import { logAbsPivots } from "./logdet.ts";
import { requireRegular } from "./solve.ts";

const mostSteps = 60;

/**
 * The matrix sign of square a [n, n]: the matrix with the eigenvectors of a and the signs of (the real parts of) its
 * eigenvalues, so sign(a)^2 = I. By Newton's iteration x <- (mu x + (mu x)^-1) / 2 with determinantal scaling (Higham
 * 2008, §5), in float64. Not the element-wise sign; the orthogonal factor is `polar`. Throws `SINGULAR_MATRIX`, and
 * `NOT_CONVERGED` where eigenvalues lie on the imaginary axis; `SHAPE_MISMATCH`, `UNSUPPORTED_DTYPE`, `NOT_FINITE`.
 */
export function matrixSign(a: Tensor): Matrix {
  const matrix = readMatrix(a, { function: "matrixSign", operand: "a" }, { square: true });
  const n = matrix.rows;
  let x = matrix;
  let last = Number.POSITIVE_INFINITY;
  for (let step = 0; step < mostSteps; step++) {
    const factors = luFactor(x);
    if (step === 0) requireRegular("matrixSign", factors);
    const inverse = luSolve(factors, identity(n));
    const mu = last < 1e-2 ? 1 : exponential(-logAbsPivots(factors) / n);
    const next = { ...x, values: x.values.map((value, i) => 0.5 * (mu * value + inverse.values[i] / mu)) };
    const change = frobenius(next.values.map((value, i) => value - x.values[i])) / frobenius(next.values);
    x = next;
    // quadratic: the step after one of 1e-8 is below rounding
    if (change < 1e-8 || (last < 1e-4 && change >= last)) return checked(x, n, a);
    if (!Number.isFinite(change)) break;
    last = change;
  }
  throw notConverged();
}

function checked(x: Dense, n: number, a: Tensor): Matrix {
  const square = multiply(x, x).values;
  for (let i = 0; i < n; i++) square[i * n + i] -= 1;
  const size = frobenius(x.values);
  if (frobenius(square) > 1e-6 * size * size) throw notConverged();
  return writeMatrix(x.values, [n, n], a.dtype as Matrix["dtype"]);
}

function notConverged(): LoomweightError {
  return new LoomweightError({
    code: "NOT_CONVERGED",
    problem: "matrixSign: the iteration does not settle",
    tensor: "a",
    expected: "no eigenvalue on or very near the imaginary axis",
  });
}
