import { fromFloat64, tensor, toFloat64, transpose } from "@loomweight/tensor";
import fc from "fast-check";
import { expect, test } from "vitest";
import { diagonal, eye, gap, minus, plain, times, turned } from "../test/arithmetic.ts";
import { matrixOf } from "../test/matrices.ts";
import { qr } from "./qr.ts";
import { randomizedSvd, randomizedSvdOf } from "./randomized-svd.ts";
import { singularValues, svd } from "./svd.ts";

/** A matrix with singular values 2^-i. */
function decaying(m: number, n: number, seed: number) {
  const k = Math.min(m, n);
  const u = plain(qr(matrixOf("normal", m, k, seed)).q);
  const v = plain(qr(matrixOf("normal", n, k, seed + 1)).q);
  const values = Array.from({ length: k }, (_, i) => 2 ** -i);
  return fromFloat64(times(times(u, diagonal(values)), turned(v)).values, [m, n]);
}

test("the error is below its bound and near the best", () => {
  fc.assert(
    fc.property(fc.integer({ min: 20, max: 90 }), fc.integer({ min: 20, max: 90 }), fc.nat(99), (m, n, seed) => {
      const a = decaying(m, n, seed);
      const { u, singularValues: s, vt, errorBound } = randomizedSvd(a, { rank: 6, oversampling: 5, seed });
      expect(gap(times(turned(plain(u)), plain(u)), eye(6))).toBeLessThan(1e-13);
      const rest = minus(plain(a), times(times(plain(u), diagonal(toFloat64(s))), plain(vt)));
      const [error] = toFloat64(singularValues(fromFloat64(rest.values, [m, n])));
      expect(error).toBeLessThanOrEqual(errorBound);
      expect(errorBound).toBeLessThan(3 * 2 ** -6);
      expect(error).toBeLessThan(1.001 * 2 ** -6);
      for (let i = 0; i < 6; i++) expect(toFloat64(s)[i]).toBeCloseTo(2 ** -i, 6);
    }),
    { numRuns: 25, seed: 14 },
  );
});

test("where the sketch is as wide as the matrix it is the SVD, sign for sign", () => {
  for (const [m, n] of [
    [8, 5],
    [5, 8],
    [1, 1],
  ]) {
    const a = matrixOf("normal", m, n, 3);
    const rank = Math.min(m, n);
    const exact = svd(a);
    const found = randomizedSvd(a, { rank });
    expect(gap(plain(found.u), plain(exact.u))).toBeLessThan(1e-12);
    expect(gap(plain(found.vt), plain(exact.vt))).toBeLessThan(1e-12);
    expect(found.errorBound).toBe(0);
  }
});

test("zero, tiny and huge matrices", () => {
  for (const kind of ["zero", "tiny", "huge"] as const) {
    const a = matrixOf(kind, 40, 30, 1);
    const { singularValues: s } = randomizedSvd(a, { rank: 2, oversampling: 30 });
    const wanted = toFloat64(svd(a).singularValues);
    expect(Math.abs(toFloat64(s)[1] - wanted[1])).toBeLessThanOrEqual(1e-13 * wanted[0]);
  }
});

test("products of factors are enough: no matrix is formed", async () => {
  const [left, right] = [matrixOf("normal", 50, 4, 1), matrixOf("normal", 4, 60, 2)];
  const product = (...all: ReturnType<typeof plain>[]) => {
    const { rows, columns, values } = all.reduceRight((sum, each) => times(each, sum));
    return fromFloat64(values, [rows, columns]);
  };
  const found = await randomizedSvdOf(
    {
      shape: [50, 60],
      times: (x) => product(plain(left), plain(right), plain(x)),
      transposeTimes: async (y) => product(plain(transpose(right)), plain(transpose(left)), plain(y)),
    },
    { rank: 4 },
  );
  const exact = svd(product(plain(left), plain(right)), { rank: 4 });
  expect(gap(plain(found.u), plain(exact.u))).toBeLessThan(1e-11);
  expect(found.errorBound).toBeLessThan(1e-11);
  const wrong = { shape: [5, 6] as const, times: () => tensor([[1]]), transposeTimes: () => tensor([[1]]) };
  await expect(randomizedSvdOf(wrong, { rank: 1 })).rejects.toThrow(/times\(x\).*a product has the wrong shape/);
});

test("options are checked by name", () => {
  const a = matrixOf("normal", 4, 3, 1);
  expect(() => randomizedSvd(a, { rank: 4 })).toThrow(/option randomizedSvd.rank.*from 1 to 3/);
  expect(() => randomizedSvd(a, { rank: 1, powerIterations: -1 })).toThrow(/option randomizedSvd.powerIterations/);
});
