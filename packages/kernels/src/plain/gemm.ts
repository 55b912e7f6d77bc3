const blockK = 256;

/** The plain twin of assembly/gemm.ts: the same order of sums. out [m, n] += alpha * a [m, k] x b [k, n]. */
export function gemm(
  out: Float64Array,
  a: Float64Array,
  b: Float64Array,
  m: number,
  n: number,
  k: number,
  alpha: number,
): void {
  const sums = new Float64Array(n);
  for (let start = 0; start < k; start += blockK) {
    const end = Math.min(k, start + blockK);
    for (let i = 0; i < m; i++) {
      sums.fill(0);
      for (let p = start; p < end; p++) {
        const factor = a[i * k + p];
        const row = p * n;
        for (let j = 0; j < n; j++) sums[j] += factor * b[row + j];
      }
      for (let j = 0; j < n; j++) out[i * n + j] += alpha * sums[j];
    }
  }
}
