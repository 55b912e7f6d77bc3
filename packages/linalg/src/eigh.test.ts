import { expectClose, tensor, toFloat64 } from "@loomweight/tensor";
import fc from "fast-check";
import { expect, test } from "vitest";
import { diagonal, eye, gap, plain, size, times, turned } from "../test/arithmetic.ts";
import { anyKind, anySize, symmetricOf } from "../test/matrices.ts";
import { eigh, eigvalsh } from "./eigh.ts";

test("worked example", () => {
  const { eigenvalues, eigenvectors } = eigh(
    tensor(
      [
        [2, 1],
        [1, 2],
      ],
      undefined,
      "float64",
    ),
  );
  const h = Math.SQRT1_2;
  expectClose(eigenvalues, tensor([1, 3], undefined, "float64"));
  expectClose(
    eigenvectors,
    tensor(
      [
        [h, h],
        [-h, h],
      ],
      undefined,
      "float64",
    ),
  );
});

test("v diag(w) v^T is the matrix, v is orthonormal, w ascends", () => {
  fc.assert(
    fc.property(anyKind, anySize, fc.nat(1000), (kind, n, seed) => {
      const a = symmetricOf(kind, n, seed);
      const { eigenvalues, eigenvectors } = eigh(a);
      const w = toFloat64(eigenvalues);
      const v = plain(eigenvectors);
      const unit = 1e-14 * n;
      const scale = n * size(plain(a));
      expect(gap(times(turned(v), v), eye(n))).toBeLessThanOrEqual(unit);
      expect(gap(times(times(v, diagonal(w)), turned(v)), plain(a))).toBeLessThanOrEqual(unit * scale);
      for (let i = 1; i < n; i++) expect(w[i]).toBeGreaterThanOrEqual(w[i - 1]);
      expect(gap(plain(eigvalsh(a)), plain(eigenvalues))).toBeLessThanOrEqual(unit * scale);
    }),
    { numRuns: 120, seed: 3 },
  );
});

test("large: clusters of equal eigenvalues, and a matrix that is tridiagonal already", () => {
  const n = 150;
  const values = new Float64Array(n * n);
  for (let i = 0; i < n; i++) {
    values[i * n + i] = i % 5;
    if (i > 0) values[i * n + i - 1] = values[(i - 1) * n + i] = i % 7 === 0 ? 0 : 1;
  }
  const { eigenvalues, eigenvectors } = eigh(tensor(values, [n, n], "float64"));
  const v = plain(eigenvectors);
  expect(gap(times(turned(v), v), eye(n))).toBeLessThan(1e-12);
  const product = times(times(v, diagonal(toFloat64(eigenvalues))), turned(v));
  expect(gap(product, { rows: n, columns: n, values })).toBeLessThan(1e-12);
});

test("what is not symmetric is refused with the place", () => {
  expect(() =>
    eigh(
      tensor([
        [1, 2],
        [3, 1],
      ]),
    ),
  ).toThrow(/eigh: the matrix is not symmetric.*3 at \[1, 0\].*2 at \[0, 1\]/);
});
