import { logarithm } from "@loomweight/kernels";
import type { Tensor } from "@loomweight/tensor";
import { readMatrix, scaled } from "./core/dense.ts";
import { type Lu, luFactor } from "./core/lu.ts";

/** Sum of log |pivot|; -Infinity where one is 0. */
export function logAbsPivots({ n, lu }: Lu): number {
  let sum = 0;
  for (let i = 0; i < n; i++) {
    const pivot = Math.abs(lu[i * n + i]);
    if (pivot === 0) return Number.NEGATIVE_INFINITY;
    sum += logarithm(pivot);
  }
  return sum;
}

export interface LogDet {
  /** log |det a|; -Infinity for an exactly singular matrix. */
  readonly logAbsDet: number;
  /** 1, -1, or 0 for an exactly singular matrix. */
  readonly sign: -1 | 0 | 1;
}

/**
 * Sign and logarithm of the determinant of square a [n, n], by LU in float64; no overflow. Throws `SHAPE_MISMATCH`,
 * `UNSUPPORTED_DTYPE`, `NOT_FINITE`.
 */
export function logdet(a: Tensor): LogDet {
  const { matrix, scale } = scaled(readMatrix(a, { function: "logdet", operand: "a" }, { square: true }));
  const factors = luFactor(matrix);
  const { n, lu, parity } = factors;
  const sum = logAbsPivots(factors);
  if (sum === Number.NEGATIVE_INFINITY) return { logAbsDet: sum, sign: 0 };
  let sign = parity;
  for (let i = 0; i < n; i++) if (lu[i * n + i] < 0) sign = -sign;
  return { logAbsDet: sum + n * logarithm(scale), sign: sign as -1 | 1 };
}
