import { createKernels, type Kernels } from "@loomweight/kernels";
import { inKernelMemory, kernelsHolding } from "./kernel-memory.ts";

// Ops are synchronous, so the engine that multiplies is made on first use and kept; it holds nothing between calls.
let shared: Kernels | undefined;

/** Below this many multiplications a plain loop is faster than a copy into kernel memory. */
const small = 32_768;

/**
 * out [m, n] += a [m, k] x b [k, n] for whole arrays of row-major float64, in place where `out` lies in kernel memory
 * (`withKernelMemory`). False: not done, `out` is as it was.
 */
export function addProductInKernelMemory(
  out: Float64Array,
  a: Float64Array,
  b: Float64Array,
  { m, n, k }: { readonly m: number; readonly n: number; readonly k: number },
): boolean {
  const kernels = kernelsHolding(out);
  if (kernels === undefined) return false;
  const mark = kernels.mark();
  const [x, y] = [inKernelMemory(a), inKernelMemory(b)];
  if (x !== undefined && y !== undefined) kernels.gemm(out, x, y, m, n, k, 1);
  kernels.release(mark);
  return x !== undefined && y !== undefined;
}

/** out [m, n] = a [m, k] x b [k, n], row-major float64 at the given places of the arrays. */
export function multiplyInto(
  out: Float64Array,
  a: Float64Array,
  b: Float64Array,
  places: { readonly out: number; readonly a: number; readonly b: number },
  { m, n, k }: { readonly m: number; readonly n: number; readonly k: number },
): void {
  if (m * n * k <= small) {
    for (let i = 0; i < m; i++) {
      for (let j = 0; j < n; j++) {
        let sum = 0;
        for (let p = 0; p < k; p++) sum += a[places.a + i * k + p] * b[places.b + p * n + j];
        out[places.out + i * n + j] = sum;
      }
    }
    return;
  }
  shared ??= createKernels();
  multiplyByBlocks(shared, out, a, b, places, { m, n, k });
}

function multiplyByBlocks(
  kernels: Kernels,
  out: Float64Array,
  a: Float64Array,
  b: Float64Array,
  places: { readonly out: number; readonly a: number; readonly b: number },
  { m, n, k }: { readonly m: number; readonly n: number; readonly k: number },
): void {
  const mark = kernels.mark();
  try {
    const depth = Math.min(k, 1024);
    const columns = Math.min(n, 1024);
    const room = Math.floor(kernels.capacity / 8) - depth * columns - 64;
    const rows = Math.min(m, Math.max(1, Math.floor(room / (depth + columns))));
    const block = (count: number) => {
      const bytes = kernels.allocate(8 * count);
      return new Float64Array(bytes.buffer, bytes.byteOffset, count);
    };
    const [left, right, result] = [block(rows * depth), block(depth * columns), block(rows * columns)];
    for (let j = 0; j < n; j += columns) {
      const width = Math.min(columns, n - j);
      for (let p = 0; p < k; p += depth) {
        const height = Math.min(depth, k - p);
        for (let row = 0; row < height; row++) {
          const from = places.b + (p + row) * n + j;
          right.set(b.subarray(from, from + width), row * width);
        }
        for (let i = 0; i < m; i += rows) {
          const tall = Math.min(rows, m - i);
          const [x, y, z] = [
            left.subarray(0, tall * height),
            right.subarray(0, height * width),
            result.subarray(0, tall * width),
          ];
          for (let row = 0; row < tall; row++) {
            const from = places.a + (i + row) * k + p;
            x.set(a.subarray(from, from + height), row * height);
            const to = places.out + (i + row) * n + j;
            if (p === 0) z.fill(0, row * width, (row + 1) * width);
            else z.set(out.subarray(to, to + width), row * width);
          }
          kernels.gemm(z, x, y, tall, width, height, 1);
          for (let row = 0; row < tall; row++) {
            out.set(z.subarray(row * width, (row + 1) * width), places.out + (i + row) * n + j);
          }
        }
      }
    }
  } finally {
    kernels.release(mark);
  }
}
