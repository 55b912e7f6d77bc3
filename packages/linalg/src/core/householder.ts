import type { Kernels } from "@loomweight/kernels";
import { unset } from "./workspace.ts";

/** Reflectors that are applied together, as one product of matrices. */
export const blockSize = 32;

/** Sums of squares below this are 0: squares there underflow, and the reflector would not be orthogonal. */
const negligible = 1e-280;

/**
 * The reflector H = I - tau v v^T with H x = beta e_1, |beta| = |x|. Writes v (v[0] = 1) over x. Values are taken to be
 * scaled to about 1.
 */
export function reflectInto(x: Float64Array): { beta: number; tau: number } {
  let rest = 0;
  for (let i = 1; i < x.length; i++) rest += x[i] * x[i];
  const alpha = x[0];
  x[0] = 1;
  if (rest < negligible) {
    x.fill(0, 1);
    return { beta: alpha, tau: 0 };
  }
  const norm = Math.sqrt(alpha * alpha + rest);
  const beta = alpha >= 0 ? -norm : norm;
  const scale = 1 / (alpha - beta);
  for (let i = 1; i < x.length; i++) x[i] *= scale;
  return { beta, tau: (beta - alpha) / beta };
}

/**
 * c [rows, length] <- c Q^T for Q = H_0 H_1 ... H_(count-1), whose vectors are the rows of `vectors` [count, length],
 * vector i 0 before place i + offset. Rows of c are transposed columns, so this is Q times the matrix behind c. Blocks
 * of reflectors are I - V^T T V (Schreiber and Van Loan 1989). `triangular`: row i of c is 0 from place i + 1 on, and
 * rows before a block then stay as they are.
 */
export function applyReflectors(
  kernels: Kernels,
  c: Float64Array,
  vectors: Float64Array,
  taus: Float64Array,
  sizes: { readonly rows: number; readonly length: number; readonly count: number; readonly offset: number },
  triangular = false,
): void {
  const { rows, length, count, offset } = sizes;
  const mark = kernels.mark();
  const gram = unset(kernels, blockSize * blockSize);
  const factor = unset(kernels, blockSize * blockSize);
  const first = unset(kernels, rows * blockSize);
  const second = unset(kernels, rows * blockSize);
  for (let block = Math.ceil(count / blockSize) - 1; block >= 0; block--) {
    const start = block * blockSize;
    const width = Math.min(blockSize, count - start);
    const from = start + offset;
    const top = triangular ? Math.min(rows, start) : 0;
    const [tall, reach] = [rows - top, length - from];
    if (tall <= 0 || reach <= 0) continue;
    const v = vectors.subarray(start * length + from);
    gram.fill(0);
    kernels.gemmStrided(gram, width, v, [length, 1], v, [1, length], width, width, reach, 1);
    triangularFactorInto(factor, gram, taus.subarray(start, start + width), width);
    const part = c.subarray(top * length + from);
    first.fill(0);
    second.fill(0);
    kernels.gemmStrided(first, width, part, [length, 1], v, [1, length], tall, width, reach, 1);
    kernels.gemmStrided(second, width, first, [width, 1], factor, [1, width], tall, width, width, 1);
    kernels.gemmStrided(part, length, second, [width, 1], v, [length, 1], tall, reach, width, -1);
  }
  kernels.release(mark);
}

/** Upper T of H_0 ... H_(w-1) = I - V^T T V, from the Gram matrix of the vectors. */
export function triangularFactorInto(t: Float64Array, gram: Float64Array, taus: Float64Array, width: number): void {
  t.fill(0, 0, width * width);
  for (let i = 0; i < width; i++) {
    t[i * width + i] = taus[i];
    for (let r = 0; r < i; r++) {
      let sum = 0;
      for (let q = r; q < i; q++) sum += t[r * width + q] * gram[q * width + i];
      t[r * width + i] = -taus[i] * sum;
    }
  }
}
