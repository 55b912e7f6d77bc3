import { logarithm } from "@loomweight/kernels";
import { LoomweightError, type Tensor } from "@loomweight/tensor";
import { type Dense, frobenius, identity, type Matrix, readMatrix, writeMatrix } from "./core/dense.ts";
import { luFactor, luSolve } from "./core/lu.ts";
import { multiply } from "./core/multiply.ts";
import { symmetricEigen, symmetricFunction } from "./core/symmetric-eigen.ts";
import { tridiagonalQl } from "./core/tridiagonal-ql.ts";
import { norm1 } from "./expm.ts";
import { requireRegular } from "./solve.ts";

/** Square roots are taken until a is that near to I. */
const near = 0.25;
const mostRoots = 60;

/** Points of the quadrature: its error at `near` is below 2^-53. */
const points = 9;

/**
 * The principal logarithm of square a [n, n] without eigenvalues on the negative real axis. Symmetric positive definite a:
 * through eigh. Else inverse scaling and squaring: square roots by the product form of Denman and Beavers' iteration
 * (Cheng, Higham, Kenney, Laub 2001), then Gauss-Legendre quadrature of the integral of x (I + t x)^-1, which is the Padé
 * approximant. Throws `SINGULAR_MATRIX`, `NOT_CONVERGED` where there is no real principal logarithm, `SHAPE_MISMATCH`,
 * `UNSUPPORTED_DTYPE`, `NOT_FINITE`.
 */
export function logm(a: Tensor): Matrix {
  const matrix = readMatrix(a, { function: "logm", operand: "a" }, { square: true });
  const n = matrix.rows;
  const { values } = matrix;
  const dtype = a.dtype as Matrix["dtype"];
  if (values.every((value, at) => value === values[(at % n) * n + Math.floor(at / n)])) {
    const eigen = symmetricEigen(matrix);
    if (eigen.values[0] <= 0) throw noLogarithm(`the eigenvalue ${eigen.values[0]}`);
    return writeMatrix(symmetricFunction(eigen, logarithm).values, [n, n], dtype);
  }
  requireRegular("logm", luFactor(matrix));
  let x = matrix;
  let roots = 0;
  while (norm1(minusIdentity(x)) > near) {
    if (++roots > mostRoots) throw noLogarithm("square roots that do not approach I");
    x = squareRoot(x);
  }
  const offset = minusIdentity(x);
  const { nodes, weights } = gaussLegendre(points);
  const out = new Float64Array(n * n);
  nodes.forEach((t, q) => {
    const below = { ...offset, values: offset.values.map((value) => t * value) };
    for (let i = 0; i < n; i++) below.values[i * n + i] += 1;
    const term = luSolve(luFactor(below), offset);
    for (let i = 0; i < out.length; i++) out[i] += weights[q] * term.values[i];
  });
  const factor = 2 ** roots;
  return writeMatrix(
    out.map((value) => value * factor),
    [n, n],
    dtype,
  );
}

function minusIdentity(x: Dense): Dense {
  const values = x.values.slice();
  for (let i = 0; i < x.rows; i++) values[i * x.rows + i] -= 1;
  return { ...x, values };
}

/** The principal square root: m <- (I + (m + m^-1) / 2) / 2, y <- y (I + m^-1) / 2, from m = y = a; y -> a^(1/2). */
function squareRoot(a: Dense): Dense {
  const n = a.rows;
  let m = a;
  let y = a;
  for (let step = 0; step < 50; step++) {
    const inverse = luSolve(luFactor(m), identity(n));
    const half = { ...m, values: inverse.values.map((value) => 0.5 * value) };
    const next = { ...m, values: m.values.map((value, i) => 0.25 * (value + inverse.values[i])) };
    for (let i = 0; i < n; i++) {
      half.values[i * n + i] += 0.5;
      next.values[i * n + i] += 0.5;
    }
    y = multiply(y, half);
    m = next;
    const gap = frobenius(minusIdentity(m).values);
    if (!Number.isFinite(gap)) break;
    if (gap < n * 2 ** -50) return y;
  }
  throw noLogarithm("a square root that was not found");
}

function noLogarithm(found: string): LoomweightError {
  return new LoomweightError({
    code: "NOT_CONVERGED",
    problem: "logm: the matrix has no real principal logarithm that can be computed",
    tensor: "a",
    expected: "no eigenvalue that is 0 or on the negative real axis",
    found,
  });
}

/** Nodes and weights on 0 .. 1, from the eigenvalues of Legendre's recurrence (Golub and Welsch 1969). */
function gaussLegendre(count: number): { nodes: number[]; weights: number[] } {
  const d = new Float64Array(count);
  const e = Float64Array.from({ length: count - 1 }, (_, i) => (i + 1) / Math.sqrt(4 * (i + 1) ** 2 - 1));
  const z = identity(count).values;
  tridiagonalQl(d, e, z);
  return {
    nodes: Array.from(d, (value) => 0.5 * (1 + value)),
    weights: Array.from(d, (_, i) => z[i * count] ** 2),
  };
}
