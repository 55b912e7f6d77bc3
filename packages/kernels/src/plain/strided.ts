import type { KernelFunctions } from "../kernels.ts";

const blockK = 256;

/** Sum over j < n of a[from + j] x[j] in the order of assembly/strided.ts: four lanes, then the rest one by one. */
function rowDot(a: Float64Array, from: number, x: Float64Array, n: number): number {
  const whole = n - (n % 4);
  const lanes = [0, 0, 0, 0];
  for (let j = 0; j < whole; j++) lanes[j & 3] += a[from + j] * x[j];
  let total = lanes[0] + lanes[2] + (lanes[1] + lanes[3]);
  for (let j = whole; j < n; j++) total += a[from + j] * x[j];
  return total;
}

type Strided = Pick<KernelFunctions, "gemmStrided" | "gemv" | "gemvTransposed" | "symv">;

/** The plain twins of assembly/strided.ts: the same order of sums. */
export const strided: Strided = {
  gemmStrided(out, outStride, a, [aRow, aColumn], b, [bRow, bColumn], m, n, k, alpha) {
    const sums = new Float64Array(n);
    for (let start = 0; start < k; start += blockK) {
      const end = Math.min(k, start + blockK);
      for (let i = 0; i < m; i++) {
        sums.fill(0);
        for (let p = start; p < end; p++) {
          const factor = a[i * aRow + p * aColumn];
          for (let j = 0; j < n; j++) sums[j] += factor * b[p * bRow + j * bColumn];
        }
        for (let j = 0; j < n; j++) out[i * outStride + j] += alpha * sums[j];
      }
    }
  },
  gemv(y, a, stride, x, m, n, alpha) {
    for (let i = 0; i < m; i++) y[i] += alpha * rowDot(a, i * stride, x, n);
  },
  gemvTransposed(y, a, stride, x, m, n, alpha) {
    for (let i = 0; i < m; i++) {
      const factor = alpha * x[i];
      for (let j = 0; j < n; j++) y[j] += factor * a[i * stride + j];
    }
  },
  symv(y, a, stride, x, n, alpha) {
    for (let start = 0; start < n; start += 4) {
      const end = Math.min(n, start + 4);
      const totals = [0, 0, 0, 0];
      for (let i = start; i < end; i++) {
        const factor = alpha * x[i];
        for (let j = 0; j < start; j++) y[j] += factor * a[i * stride + j];
        totals[i - start] = rowDot(a, i * stride, x, start);
      }
      for (let i = start; i < end; i++) {
        let total = totals[i - start];
        for (let j = start; j < i; j++) {
          const entry = a[i * stride + j];
          total += entry * x[j];
          y[j] += alpha * x[i] * entry;
        }
        total += a[i * stride + i] * x[i];
        y[i] += alpha * total;
      }
    }
  },
};
