import { LoomweightError, type Tensor } from "@loomweight/tensor";
import { type Dense, identity, type Matrix, readMatrix, writeMatrix } from "./core/dense.ts";
import { luFactor, luSolve } from "./core/lu.ts";
import { multiply } from "./core/multiply.ts";

/** Padé approximants: degree, coefficients of the numerator, and the largest 1-norm at which they are exact to 2^-53 (Higham 2005, table 2.3). */
const approximants = [
  { limit: 1.495585217958292e-2, coefficients: [120, 60, 12, 1] },
  { limit: 2.53939833006323e-1, coefficients: [30240, 15120, 3360, 420, 30, 1] },
  { limit: 9.504178996162932e-1, coefficients: [17297280, 8648640, 1995840, 277200, 25200, 1512, 56, 1] },
  {
    limit: 2.097847961257068,
    coefficients: [17643225600, 8821612800, 2075673600, 302702400, 30270240, 2162160, 110880, 3960, 90, 1],
  },
  {
    limit: 5.371920351148152,
    coefficients: [
      64764752532480000, 32382376266240000, 7771770303897600, 1187353796428800, 129060195264000, 10559470521600,
      670442572800, 33522128640, 1323241920, 40840800, 960960, 16380, 182, 1,
    ],
  },
] as const;

/** Largest sum of magnitudes of a column. */
export function norm1({ rows, columns, values }: Dense): number {
  const sums = new Float64Array(columns);
  for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) sums[j] += Math.abs(values[i * columns + j]);
  return sums.reduce((largest, sum) => Math.max(largest, sum), 0);
}

/**
 * The matrix exponential of square a [n, n]: scaling by a power of two, a Padé approximant of degree 3 to 13, and
 * squaring (Higham 2005), in float64. A skew-symmetric a gives a rotation. Throws `OVERFLOW` where the result leaves the
 * range, `SHAPE_MISMATCH`, `UNSUPPORTED_DTYPE`, `NOT_FINITE`.
 */
export function expm(a: Tensor): Matrix {
  const matrix = readMatrix(a, { function: "expm", operand: "a" }, { square: true });
  const n = matrix.rows;
  const norm = norm1(matrix);
  const last = approximants.length - 1;
  const chosen = approximants.find(({ limit }) => norm <= limit) ?? approximants[last];
  let squarings = 0;
  let factor = 1;
  for (let size = norm; size > chosen.limit && squarings < 1100; size /= 2) {
    squarings++;
    factor /= 2;
  }
  let x = pade({ ...matrix, values: matrix.values.map((value) => value * factor) }, chosen.coefficients);
  for (let i = 0; i < squarings; i++) x = multiply(x, x);
  if (x.values.some((value) => !Number.isFinite(value))) {
    throw new LoomweightError({
      code: "OVERFLOW",
      problem: "expm: the result is beyond the range of float64",
      tensor: "a",
      found: `a 1-norm of ${norm}`,
    });
  }
  return writeMatrix(x.values, [n, n], a.dtype as Matrix["dtype"]);
}

/** (v - u)^-1 (v + u) for the odd part u and the even part v of the numerator. */
function pade(a: Dense, coefficients: readonly number[]): Dense {
  const n = a.rows;
  const square = multiply(a, a);
  const degree = coefficients.length - 1;
  let power = identity(n);
  const odd = new Float64Array(n * n);
  const even = new Float64Array(n * n);
  for (let i = 0; i <= degree; i += 2) {
    if (i > 0) power = multiply(power, square);
    for (let p = 0; p < n * n; p++) {
      even[p] += coefficients[i] * power.values[p];
      odd[p] += coefficients[i + 1] * power.values[p];
    }
  }
  const u = multiply(a, { rows: n, columns: n, values: odd });
  const below = { rows: n, columns: n, values: even.map((value, i) => value - u.values[i]) };
  const above = { rows: n, columns: n, values: even.map((value, i) => value + u.values[i]) };
  return luSolve(luFactor(below), above);
}
