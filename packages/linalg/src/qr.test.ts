import { expectClose, tensor, toFloat64, transpose } from "@loomweight/tensor";
import fc from "fast-check";
import { expect, test } from "vitest";
import { eye, gap, plain, size, times, turned } from "../test/arithmetic.ts";
import { anyKind, anySize, matrixOf } from "../test/matrices.ts";
import { lq, qr } from "./qr.ts";

test("worked example: 3-4-5", () => {
  const { q, r } = qr(
    tensor(
      [
        [3, 1],
        [-4, 2],
      ],
      undefined,
      "float64",
    ),
  );
  expectClose(
    q,
    tensor(
      [
        [0.6, 0.8],
        [-0.8, 0.6],
      ],
      undefined,
      "float64",
    ),
  );
  expectClose(
    r,
    tensor(
      [
        [5, -1],
        [0, 2],
      ],
      undefined,
      "float64",
    ),
  );
});

test("q r is the matrix, q is orthonormal, r is upper triangular with a diagonal of at least 0", () => {
  fc.assert(
    fc.property(anyKind, anySize, anySize, fc.boolean(), fc.nat(1000), (kind, m, n, complete, seed) => {
      const a = matrixOf(kind, m, n, seed);
      const { q, r } = qr(a, { complete });
      const k = complete ? m : Math.min(m, n);
      expect([q.shape, r.shape]).toEqual([
        [m, k],
        [k, n],
      ]);
      const unit = 1e-14 * Math.max(m, n);
      expect(gap(times(turned(plain(q)), plain(q)), eye(k))).toBeLessThanOrEqual(unit);
      expect(gap(times(plain(q), plain(r)), plain(a))).toBeLessThanOrEqual(unit * Math.sqrt(m) * size(plain(a)));
      const upper = toFloat64(r);
      for (let i = 0; i < Math.min(k, n); i++) {
        expect(upper[i * n + i]).toBeGreaterThanOrEqual(0);
        for (let j = 0; j < i; j++) expect(upper[i * n + j]).toBe(0);
      }
    }),
    { numRuns: 120, seed: 2 },
  );
});

test("a negative number is -1 times its magnitude", () => {
  const { q, r } = qr(tensor([[-2]]));
  expect([...q.data, ...r.data]).toEqual([-1, 2]);
});

test("lq is the qr of the transpose", () => {
  fc.assert(
    fc.property(anyKind, anySize, anySize, fc.nat(1000), (kind, m, n, seed) => {
      const a = matrixOf(kind, m, n, seed);
      const { l, q } = lq(a);
      const { q: other, r } = qr(transpose(a, [1, 0]));
      expect([l.shape, q.shape]).toEqual([
        [m, Math.min(m, n)],
        [Math.min(m, n), n],
      ]);
      expect(toFloat64(l)).toEqual(toFloat64(transpose(r, [1, 0])));
      expect(toFloat64(q)).toEqual(toFloat64(transpose(other, [1, 0])));
    }),
  );
});
