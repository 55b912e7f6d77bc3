import { LoomweightError, type Tensor } from "@loomweight/tensor";
import { type Dense, type Matrix, readSymmetric, scaled, writeMatrix } from "./core/dense.ts";
import { blockSize } from "./core/householder.ts";
import { requireNonNegative } from "./core/options.ts";
import { unset, withWorkspace } from "./core/workspace.ts";

export interface CholeskyOptions {
  /** Added to the diagonal before factoring, for matrices that are positive definite but for rounding. Default 0. */
  readonly shift?: number;
}

/**
 * Lower triangular l [n, n] with positive diagonal and l l^T = a + shift I, for symmetric positive definite a. Computed
 * in float64, in blocks. Throws `NOT_POSITIVE_DEFINITE` with the row where it stops, `NOT_SYMMETRIC`, `SHAPE_MISMATCH`,
 * `UNSUPPORTED_DTYPE`, `NOT_FINITE`, `INVALID_OPTION`.
 */
export function cholesky(a: Tensor, options: CholeskyOptions = {}): Matrix {
  const matrix = readSymmetric(a, { function: "cholesky", operand: "a" });
  const shift = requireNonNegative("cholesky", "shift", options.shift ?? 0);
  const n = matrix.rows;
  return writeMatrix(lowerFactor(matrix, shift, "cholesky"), [n, n], a.dtype as Matrix["dtype"]);
}

/** As `cholesky`, on values; `name` is who asks. */
export function lowerFactor(input: Dense, shift: number, name: string): Float64Array {
  // scaled by a power of four, so that the root of the scale is exact too
  const first = scaled(input).scale;
  const scale = Math.sqrt(first) ** 2 === first ? first : first * 2;
  const root = Math.sqrt(scale);
  const n = input.rows;
  return withWorkspace(name, n * n + n * blockSize, (kernels) => {
    const l = unset(kernels, n * n);
    for (let i = 0; i < n * n; i++) l[i] = input.values[i] / scale;
    for (let i = 0; i < n; i++) l[i * n + i] += shift / scale;
    for (let start = 0; start < n; start += blockSize) {
      const end = Math.min(n, start + blockSize);
      for (let i = start; i < n; i++) {
        for (let j = start; j < Math.min(i + 1, end); j++) {
          let sum = l[i * n + j];
          for (let q = start; q < j; q++) sum -= l[i * n + q] * l[j * n + q];
          if (j < i) l[i * n + j] = sum / l[j * n + j];
          else if (sum > 0) l[i * n + i] = Math.sqrt(sum);
          else throw notPositiveDefinite(name, i, n, sum * scale);
        }
      }
      // the lower triangle of the rest, strip by strip
      const strip = 128;
      const right = l.subarray(end * n + start);
      for (let r = end; r < n; r += strip) {
        const tall = Math.min(strip, n - r);
        const left = l.subarray(r * n + start);
        const out = l.subarray(r * n + end);
        kernels.gemmStrided(out, n, left, [n, 1], right, [1, n], tall, r + tall - end, end - start, -1);
      }
    }
    const out = new Float64Array(n * n);
    for (let i = 0; i < n; i++) for (let j = 0; j <= i; j++) out[i * n + j] = l[i * n + j] * root;
    return out;
  });
}

function notPositiveDefinite(name: string, row: number, n: number, pivot: number): LoomweightError {
  return new LoomweightError({
    code: "NOT_POSITIVE_DEFINITE",
    problem: `${name}: the matrix is not positive definite: the factorisation stops in row ${row} of ${n}`,
    tensor: "a",
    expected: "a pivot above 0",
    found: `${pivot}`,
    fix: "Add a `shift` to the diagonal (about the largest entry times the rounding of its dtype), or use eigh.",
  });
}
