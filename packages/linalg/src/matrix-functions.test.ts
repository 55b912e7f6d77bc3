import { expectClose, tensor, toFloat64 } from "@loomweight/tensor";
import fc from "fast-check";
import { expect, test } from "vitest";
import { eye, gap, plain, size, times, turned } from "../test/arithmetic.ts";
import { anyKind, anySize, definiteOf, matrixOf } from "../test/matrices.ts";
import { expm } from "./expm.ts";
import { logm } from "./logm.ts";
import { matrixSign } from "./matrix-sign.ts";
import { polar } from "./polar.ts";
import { inverse } from "./solve.ts";
import { inverseRoot, sqrtm } from "./sqrtm.ts";

test("polar: a = u h with orthonormal u and semidefinite h", () => {
  fc.assert(
    fc.property(anyKind, anySize, anySize, fc.nat(1000), (kind, m, n, seed) => {
      const a = matrixOf(kind, m, n, seed);
      const { u, h } = polar(a);
      const [p, q] = [plain(u), plain(h)];
      const k = Math.min(m, n);
      const unit = 1e-14 * Math.max(m, n);
      expect(gap(m >= n ? times(turned(p), p) : times(p, turned(p)), eye(k))).toBeLessThanOrEqual(unit);
      const scale = Math.max(m, n) * size(plain(a));
      expect(gap(m >= n ? times(p, q) : times(q, p), plain(a))).toBeLessThanOrEqual(unit * scale);
      expect(gap(q, turned(q))).toBe(0);
    }),
    { numRuns: 60, seed: 8 },
  );
});

test("roots: squares and inverses come back", () => {
  fc.assert(
    fc.property(anySize, fc.nat(1000), (n, seed) => {
      const a = definiteOf(n, seed);
      const root = plain(sqrtm(a));
      expect(gap(times(root, root), plain(a))).toBeLessThan(1e-12);
      expectClose(inverseRoot(a, 1), inverse(a), 1e-10);
      for (const p of [2, 3, 4, 6]) {
        let power = eye(n);
        const each = plain(inverseRoot(a, p));
        for (let i = 0; i < p; i++) power = times(power, each);
        expect(gap(times(power, plain(a)), eye(n))).toBeLessThan(1e-9);
      }
    }),
    { numRuns: 30, seed: 9 },
  );
});

test("roots of what has none are refused; a shift helps", () => {
  const zero = tensor([
    [1, 0],
    [0, 0],
  ]);
  expect(toFloat64(sqrtm(zero))).toEqual(Float64Array.of(1, 0, 0, 0));
  expect(() => inverseRoot(zero, 2)).toThrow(/inverseRoot: the matrix has no inverse.*shift/);
  expectClose(
    inverseRoot(zero, 2, { shift: 0.25 }),
    tensor([
      [Math.sqrt(0.8), 0],
      [0, 2],
    ]),
  );
  expect(() =>
    sqrtm(
      tensor([
        [1, 0],
        [0, -1],
      ]),
    ),
  ).toThrow(/sqrtm: the matrix has a negative eigenvalue/);
  expect(() => inverseRoot(zero, 0.5)).toThrow(/option inverseRoot.p/);
});

test("the exponential of a rotation's generator is the rotation; of a nilpotent matrix a polynomial", () => {
  const [c, s] = [Math.cos(2), Math.sin(2)];
  expectClose(
    expm(
      tensor(
        [
          [0, -2],
          [2, 0],
        ],
        undefined,
        "float64",
      ),
    ),
    tensor(
      [
        [c, -s],
        [s, c],
      ],
      undefined,
      "float64",
    ),
  );
  const nilpotent = tensor(
    [
      [0, 1, 0],
      [0, 0, 1],
      [0, 0, 0],
    ],
    undefined,
    "float64",
  );
  expectClose(
    expm(nilpotent),
    tensor(
      [
        [1, 1, 0.5],
        [0, 1, 1],
        [0, 0, 1],
      ],
      undefined,
      "float64",
    ),
    1e-15,
  );
  expect(() => expm(tensor([[1000]], undefined, "float64"))).toThrow(/expm: the result is beyond the range/);
});

test("exp(a) exp(-a) = I, and the logarithm undoes the exponential", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 30 }), fc.constantFrom(0.01, 0.3, 2), fc.nat(1000), (n, scale, seed) => {
      const source = plain(matrixOf("normal", n, n, seed)).values.map((value) => (value * scale) / Math.sqrt(n));
      const a = tensor(source, [n, n], "float64");
      const back = tensor(
        source.map((value) => -value),
        [n, n],
        "float64",
      );
      expect(gap(times(plain(expm(a)), plain(expm(back))), eye(n))).toBeLessThan(1e-11);
      if (scale < 1) expectClose(logm(expm(a)), a, 1e-11); // eigenvalues within |imaginary part| < pi
    }),
    { numRuns: 40, seed: 10 },
  );
});

test("logm refuses what has no real principal logarithm", () => {
  expect(() =>
    logm(
      tensor([
        [1, 0],
        [0, -1],
      ]),
    ),
  ).toThrow(/logm: the matrix has no real principal logarithm/);
  expect(() =>
    logm(
      tensor([
        [-1, 1],
        [0, -2],
      ]),
    ),
  ).toThrow(/logm: the matrix has no real principal logarithm/);
  expect(() =>
    logm(
      tensor([
        [1, 1],
        [0, 0],
      ]),
    ),
  ).toThrow(/logm: the matrix is singular/);
});

test("the sign of a matrix squares to I and commutes with it", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 24 }), fc.nat(1000), (n, seed) => {
      const values = plain(matrixOf("normal", n, n, seed)).values;
      for (let i = 0; i < n; i++) values[i * n + i] += (i % 2 === 0 ? 4 : -4) * Math.sqrt(n);
      const a = tensor(values, [n, n], "float64");
      const sign = plain(matrixSign(a));
      expect(gap(times(sign, sign), eye(n))).toBeLessThan(1e-10);
      expect(gap(times(sign, plain(a)), times(plain(a), sign))).toBeLessThan(1e-10 * size(plain(a)) * n);
      let trace = 0;
      for (let i = 0; i < n; i++) trace += sign.values[i * n + i];
      expect(trace).toBeCloseTo(n % 2, 8);
    }),
    { numRuns: 40, seed: 11 },
  );
  expect(() =>
    matrixSign(
      tensor([
        [0, -1],
        [1, 0],
      ]),
    ),
  ).toThrow(/matrixSign: the iteration does not settle/);
});
