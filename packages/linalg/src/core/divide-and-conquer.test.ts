import { createRandom } from "@loomweight/tensor";
import fc from "fast-check";
import { expect, test } from "vitest";
import { eye, gap, type Plain, times, turned } from "../../test/arithmetic.ts";
import { bidiagonalSvd, bidiagonalSvdRoom } from "./bidiagonal-svd.ts";
import { tridiagonalEigen, tridiagonalEigenRoom } from "./tridiagonal-eigen.ts";
import { withWorkspace } from "./workspace.ts";

// Entries of the bands that make divide and conquer deflate, split, underflow or tie; scaled to about 1 as callers do.

const draws: Readonly<Record<string, (x: number, u: number) => number>> = {
  uniform: (x) => x,
  "a third are 0": (x, u) => (u < 0.3 ? 0 : x),
  "down to 1e-20": (x, u) => Math.sign(x) * 10 ** (-20 * u),
  "down to 1e-200, squares underflow": (x, u) => Math.sign(x) * 10 ** (-200 * u),
  "whole numbers": (x) => Math.round(2 * x),
  "ones to within rounding": (x) => 1 + 1e-15 * Math.round(4 * x),
  "half are below rounding": (x, u) => (u < 0.5 ? 1e-17 * x : x),
  "powers of two": (x, u) => Math.sign(x) * 2 ** -Math.floor(40 * u),
};

function bands(kind: string, n: number, seed: number): { d: Float64Array; e: Float64Array } {
  const random = createRandom(seed, kind);
  const draw = (i: number) => draws[kind](2 * random.uniform(2 * i) - 1, random.uniform(2 * i + 1));
  const all = Float64Array.from({ length: 2 * n - 1 }, (_, i) => draw(i));
  const largest = all.reduce((most, x) => Math.max(most, Math.abs(x)), 0) || 1;
  const near = all.map((x) => x / largest);
  return { d: near.slice(0, n), e: near.slice(n) };
}

function matrix(n: number, entry: (i: number, j: number) => number): Plain {
  return {
    rows: n,
    columns: n,
    values: Float64Array.from({ length: n * n }, (_, at) => entry(Math.floor(at / n), at % n)),
  };
}

const anyBands = [fc.constantFrom(...Object.keys(draws)), fc.integer({ min: 20, max: 80 }), fc.nat(9999)] as const;

test("bidiagonal: vectors are orthonormal and give the matrix back", () => {
  fc.assert(
    fc.property(...anyBands, (kind, n, seed) => {
      const { d, e } = bands(kind, n, seed);
      withWorkspace("test", bidiagonalSvdRoom(n), (kernels) => {
        const { values, u, v } = bidiagonalSvd(kernels, d, e);
        const [left, right] = [u, v].map((each) => ({ rows: n, columns: n, values: each.slice() }));
        const limit = 1.1e-15 * n;
        expect(gap(times(left, turned(left)), eye(n))).toBeLessThan(limit);
        expect(gap(times(right, turned(right)), eye(n))).toBeLessThan(limit);
        const middle = matrix(n, (i, j) => values[i] * right.values[i * n + j]);
        const wanted = matrix(n, (i, j) => (i === j ? d[i] : j === i + 1 ? e[i] : 0));
        expect(gap(times(turned(left), middle), wanted)).toBeLessThan(limit);
      });
    }),
    { numRuns: 120, seed: 16 },
  );
});

test("symmetric tridiagonal: vectors are orthonormal and give the matrix back", () => {
  fc.assert(
    fc.property(...anyBands, (kind, n, seed) => {
      const { d, e } = bands(kind, n, seed);
      withWorkspace("test", tridiagonalEigenRoom(n), (kernels) => {
        const { values, vectors } = tridiagonalEigen(kernels, d, e);
        const rows = { rows: n, columns: n, values: vectors.slice() };
        const limit = 1.1e-15 * n;
        expect(gap(times(rows, turned(rows)), eye(n))).toBeLessThan(limit);
        const middle = matrix(n, (i, j) => values[i] * rows.values[i * n + j]);
        const wanted = matrix(n, (i, j) => (i === j ? d[i] : Math.abs(i - j) === 1 ? e[Math.min(i, j)] : 0));
        expect(gap(times(turned(rows), middle), wanted)).toBeLessThan(limit);
      });
    }),
    { numRuns: 120, seed: 17 },
  );
});
