import fc from "fast-check";
import { expect, test } from "vitest";
import { createKernels, createRandom, type Kernels, plainKernels } from "./index.ts";

const bytes = 2 ** 23;
const sets: readonly Kernels[] = [createKernels({ bytes }), plainKernels({ bytes })];
const size = fc.oneof(fc.nat(10), fc.constantFrom(31, 63, 64, 65, 127, 129));
const depth = fc.oneof(fc.nat(10), fc.constantFrom(255, 256, 257, 300));

/** Normal values in the memory of a set. */
function draw(kernels: Kernels, name: string, count: number): Float64Array {
  const out = kernels.allocateValues(count);
  createRandom(3, name).normalsInto(out);
  return out;
}

/** What `body` returns with both sets, which must be the same bytes. */
function twins(body: (kernels: Kernels) => Float64Array): Float64Array {
  const [first, second] = sets.map((kernels) => {
    const mark = kernels.mark();
    const out = body(kernels).slice();
    kernels.release(mark);
    return out;
  });
  expect(Buffer.compare(Buffer.from(first.buffer), Buffer.from(second.buffer))).toBe(0);
  return first;
}

test("gemmStrided equals its plain twin and the definition, for any sizes, strides and transposes", () => {
  fc.assert(
    fc.property(size, size, depth, fc.boolean(), fc.boolean(), fc.nat(3), (m, n, k, left, right, pad) => {
      const [aStrides, bStrides]: [number, number][] = [
        left ? [1, m + pad] : [k + pad, 1],
        right ? [1, k + pad] : [n + pad, 1],
      ];
      const outStride = n + pad;
      const all = twins((kernels) => {
        const a = draw(kernels, "a", (m + pad) * (k + pad));
        const b = draw(kernels, "b", (k + pad) * (n + pad));
        const out = draw(kernels, "out", m * outStride);
        kernels.gemmStrided(out, outStride, a, aStrides, b, bStrides, m, n, k, -0.5);
        return out;
      });
      const kernels = sets[1];
      const mark = kernels.mark();
      const a = draw(kernels, "a", (m + pad) * (k + pad));
      const b = draw(kernels, "b", (k + pad) * (n + pad));
      const out = draw(kernels, "out", m * outStride);
      for (let i = 0; i < m; i += 7) {
        for (let j = 0; j < n; j += 5) {
          let sum = 0;
          for (let p = 0; p < k; p++) {
            sum += a[i * aStrides[0] + p * aStrides[1]] * b[p * bStrides[0] + j * bStrides[1]];
          }
          expect(all[i * outStride + j]).toBeCloseTo(out[i * outStride + j] - 0.5 * sum, 9);
        }
        for (let j = n; j < outStride; j++) expect(all[i * outStride + j]).toBe(out[i * outStride + j]);
      }
      kernels.release(mark);
    }),
    { numRuns: 40, seed: 7 },
  );
});

test("gemv, gemvTransposed and symv equal their plain twins and the definition", () => {
  fc.assert(
    fc.property(size, size, fc.nat(3), (m, n, pad) => {
      const stride = Math.max(m, n) + pad;
      const matrix = (kernels: Kernels) => draw(kernels, "a", Math.max(m, n) * stride + 1);
      const rows = twins((kernels) => {
        const y = draw(kernels, "y", m);
        kernels.gemv(y, matrix(kernels), stride, draw(kernels, "x", n), m, n, 2);
        return y;
      });
      const columns = twins((kernels) => {
        const y = draw(kernels, "y", n);
        kernels.gemvTransposed(y, matrix(kernels), stride, draw(kernels, "x", m), m, n, 2);
        return y;
      });
      const symmetric = twins((kernels) => {
        const y = draw(kernels, "y", n);
        kernels.symv(y, matrix(kernels), stride, draw(kernels, "x", n), n, 2);
        return y;
      });
      const kernels = sets[1];
      const mark = kernels.mark();
      const a = matrix(kernels);
      const y = draw(kernels, "y", Math.max(m, n));
      const x = draw(kernels, "x", Math.max(m, n));
      const product = (entry: (j: number) => number, count: number) => {
        let sum = 0;
        for (let j = 0; j < count; j++) sum += entry(j) * x[j];
        return 2 * sum;
      };
      for (let i = 0; i < m; i++) expect(rows[i]).toBeCloseTo(y[i] + product((j) => a[i * stride + j], n), 10);
      for (let i = 0; i < n; i++) {
        expect(columns[i]).toBeCloseTo(y[i] + product((j) => a[j * stride + i], m), 10);
        const lower = (j: number) => (j <= i ? a[i * stride + j] : a[j * stride + i]);
        expect(symmetric[i]).toBeCloseTo(y[i] + product(lower, n), 10);
      }
      kernels.release(mark);
    }),
    { numRuns: 40, seed: 11 },
  );
});

test("parts that do not fit are refused by name", () => {
  for (const kernels of sets) {
    const mark = kernels.mark();
    const a = kernels.allocateValues(6);
    expect(() => kernels.gemmStrided(a, 1, a, [1, 1], a, [1, 1], 2, 2, 1, 1)).toThrow(/rows of `out` overlap/);
    expect(() => kernels.gemmStrided(a, 2, a, [6, 1], a, [1, 1], 2, 2, 1, 1)).toThrow(/gemmStrided: `a` is too short/);
    expect(() => kernels.gemv(a, a, 2, a.subarray(0, 2), 6, 2, 1)).toThrow(/gemv: `a` is too short/);
    expect(() => kernels.gemvTransposed(a, a, -1, a, 1, 6, 1)).toThrow(/gemvTransposed: wrong size or stride/);
    expect(() => kernels.symv(a.subarray(0, 3), a, 3, a.subarray(0, 3), 3, 1)).toThrow(/symv: `a` is too short/);
    kernels.release(mark);
  }
});
