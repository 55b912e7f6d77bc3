import { expectClose, tensor, toFloat64 } from "@loomweight/tensor";
import fc from "fast-check";
import { expect, test } from "vitest";
import { gap, minus, norm, plain, size, times, turned } from "../test/arithmetic.ts";
import { anyKind, anySize, matrixOf } from "../test/matrices.ts";
import { lstsq } from "./lstsq.ts";
import { pinv } from "./pinv.ts";
import { solve } from "./solve.ts";

test("worked example: a line through three points", () => {
  const a = tensor(
    [
      [1, 0],
      [1, 1],
      [1, 2],
    ],
    undefined,
    "float64",
  );
  const { x, rank, residualNorm } = lstsq(a, tensor([[6], [0], [0]], undefined, "float64"));
  expectClose(x, tensor([[5], [-3]], undefined, "float64"));
  expect(rank).toBe(2);
  expect(residualNorm).toBeCloseTo(Math.sqrt(6), 12);
});

test("the residual is orthogonal to the columns, and the solution to the null space", () => {
  fc.assert(
    fc.property(anyKind, anySize, anySize, fc.nat(1000), (kind, m, n, seed) => {
      const a = matrixOf(kind, m, n, seed);
      const b = matrixOf("normal", m, 2, seed + 1);
      const { x, residualNorm } = lstsq(a, b, { rcond: 1e-10 });
      const rest = minus(times(plain(a), plain(x)), plain(b));
      expect(Math.abs(norm(rest) - residualNorm)).toBeLessThanOrEqual(1e-12 * norm(plain(b)));
      const gradient = times(turned(plain(a)), rest);
      // directions below rcond are left out of the fit
      const scale = norm(plain(a)) * norm(plain(b));
      expect(size(gradient)).toBeLessThanOrEqual(1e-9 * scale);
      const inside = times(times(plain(pinv(a, { rcond: 1e-10 })), plain(a)), plain(x));
      expect(gap(inside, plain(x))).toBeLessThanOrEqual(1e-4 * size(plain(x)));
    }),
    { numRuns: 80, seed: 7 },
  );
});

test("ridge solves (a^T a + ridge I) x = a^T b", () => {
  const a = matrixOf("low rank", 12, 9, 3);
  const b = matrixOf("normal", 12, 2, 4);
  const square = times(turned(plain(a)), plain(a));
  for (let i = 0; i < 9; i++) square.values[i * 9 + i] += 0.25;
  const right = times(turned(plain(a)), plain(b));
  const wanted = solve(tensor(square.values, [9, 9], "float64"), tensor(right.values, [9, 2], "float64"));
  expectClose(lstsq(a, b, { ridge: 0.25 }).x, wanted, 1e-12);
});

test("the four laws of Penrose", () => {
  for (const kind of ["normal", "low rank", "tiny", "huge", "zero"] as const) {
    for (const [m, n] of [
      [5, 5],
      [30, 9],
      [8, 40],
    ]) {
      const a = plain(matrixOf(kind, m, n, 1));
      const p = plain(pinv(matrixOf(kind, m, n, 1)));
      const [ap, pa] = [times(a, p), times(p, a)];
      expect(gap(times(ap, a), a)).toBeLessThanOrEqual(1e-11 * size(a));
      expect(gap(times(pa, p), p)).toBeLessThanOrEqual(1e-11 * size(p));
      expect(gap(ap, turned(ap))).toBeLessThan(1e-11);
      expect(gap(pa, turned(pa))).toBeLessThan(1e-11);
    }
  }
});

test("options are checked by name", () => {
  const a = matrixOf("normal", 3, 2, 1);
  expect(() => lstsq(a, a, { ridge: -1 })).toThrow(/option lstsq.ridge/);
  expect(() => lstsq(a, a, { rcond: Number.NaN })).toThrow(/option lstsq.rcond/);
  expect(() => pinv(a, { rcond: 1 })).toThrow(/option pinv.rcond/);
  expect(toFloat64(lstsq(a, a).x).length).toBe(4);
});
