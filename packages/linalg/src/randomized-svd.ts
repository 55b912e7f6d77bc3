import { LoomweightError, type Tensor } from "@loomweight/tensor";
import { type Dense, type Matrix, readMatrix, scaled, transposed, writeMatrix } from "./core/dense.ts";
import { type Approximation, type RandomizedSvdOptions, randomizedSteps, sketchWidth } from "./core/randomized.ts";
import { unset, withWorkspace } from "./core/workspace.ts";
import type { Svd } from "./svd.ts";

export type { RandomizedSvdOptions } from "./core/randomized.ts";

export interface RandomizedSvd extends Svd {
  /**
   * Bound on the spectral norm of a - u diag(singularValues) vt; it fails with a probability of 10^-6 over seeds. Cautious:
   * up to some ten times the error.
   */
  readonly errorBound: number;
}

/** A matrix that is known by its products: a difference of checkpoints, a product of factors, one too large to hold. */
export interface MatrixProducts {
  /** [m, n] */
  readonly shape: readonly [number, number];
  /** a x [m, k] for x [n, k], float64. */
  times(x: Tensor<"float64">): Tensor | Promise<Tensor>;
  /** a^T y [n, k] for y [m, k], float64. */
  transposeTimes(y: Tensor<"float64">): Tensor | Promise<Tensor>;
}

/**
 * The largest `rank` singular values and vectors of a [m, n], from products with a few dozen random vectors (Halko,
 * Martinsson, Tropp 2011), in float64; exact where min(m, n) is at most rank + oversampling. Passes over a:
 * 2 + 2 powerIterations. `@loomweight/linalg/node` does the products in onnxruntime. Throws `SHAPE_MISMATCH`,
 * `UNSUPPORTED_DTYPE`, `NOT_FINITE`, `INVALID_OPTION`, `MATRIX_TOO_LARGE`.
 */
export function randomizedSvd(a: Tensor, options: RandomizedSvdOptions): RandomizedSvd {
  const { matrix, scale } = scaled(readMatrix(a, { function: "randomizedSvd", operand: "a" }));
  const { rows: m, columns: n, values } = matrix;
  const width = sketchWidth(m, n, options);
  const found = withWorkspace("randomizedSvd", m * n + (m + n) * width, (kernels) => {
    const held = unset(kernels, m * n);
    held.set(values);
    const steps = randomizedSteps(m, n, options);
    let step = steps.next();
    while (step.done !== true) {
      const { transpose, x } = step.value;
      const mark = kernels.mark();
      const right = unset(kernels, x.values.length);
      right.set(x.values);
      const [rows, inner] = transpose ? [n, m] : [m, n];
      const out = kernels.allocateValues(rows * x.columns);
      const strides = transpose ? ([1, n] as const) : ([n, 1] as const);
      kernels.gemmStrided(out, x.columns, held, strides, right, [x.columns, 1], rows, x.columns, inner, 1);
      const product = { rows, columns: x.columns, values: out.slice() };
      kernels.release(mark);
      step = steps.next(product);
    }
    return step.value;
  });
  return finish(found, m, n, scale, a.dtype as Matrix["dtype"]);
}

/**
 * As `randomizedSvd`, for a matrix that is known by its products only; results are float64, and as accurate as the
 * products. Throws `SHAPE_MISMATCH` where a product has the wrong shape, and what the products throw.
 */
export async function randomizedSvdOf(a: MatrixProducts, options: RandomizedSvdOptions): Promise<RandomizedSvd> {
  const [m, n] = a.shape;
  const steps = randomizedSteps(m, n, options);
  let step = steps.next();
  while (step.done !== true) {
    const { transpose, x } = step.value;
    const operand = writeMatrix(x.values, [x.rows, x.columns], "float64");
    const product = await (transpose ? a.transposeTimes(operand) : a.times(operand));
    step = steps.next(checkedProduct(product, transpose ? n : m, x.columns, transpose));
  }
  return finish(step.value, m, n, 1, "float64");
}

function checkedProduct(product: Tensor, rows: number, columns: number, transpose: boolean): Dense {
  const operand = transpose ? "transposeTimes(y)" : "times(x)";
  const found = readMatrix(product, { function: "randomizedSvdOf", operand });
  if (found.rows === rows && found.columns === columns) return found;
  throw new LoomweightError({
    code: "SHAPE_MISMATCH",
    problem: "randomizedSvdOf: a product has the wrong shape",
    tensor: operand,
    expected: `[${rows}, ${columns}]`,
    found: `[${product.shape}]`,
  });
}

function finish(found: Approximation, m: number, n: number, scale: number, dtype: Matrix["dtype"]): RandomizedSvd {
  const rank = found.values.length;
  const u = transposed({ rows: rank, columns: m, values: found.ut });
  return {
    u: writeMatrix(u.values, [m, rank], dtype),
    singularValues: writeMatrix(
      found.values.map((value) => value * scale),
      [rank],
      dtype,
    ),
    vt: writeMatrix(found.vt, [rank, n], dtype),
    errorBound: (found.outside + found.next) * scale,
  };
}
