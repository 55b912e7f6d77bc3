import { cast, expectClose, slice, tensor, toFloat64, transpose } from "@loomweight/tensor";
import fc from "fast-check";
import { expect, test } from "vitest";
import { diagonal, eye, gap, plain, size, times, turned } from "../test/arithmetic.ts";
import { anyKind, anySize, matrixOf } from "../test/matrices.ts";
import { numericalRank, singularValues, svd } from "./svd.ts";

test("worked example", () => {
  const {
    u,
    singularValues: s,
    vt,
  } = svd(
    tensor(
      [
        [3, 0],
        [4, 5],
      ],
      undefined,
      "float64",
    ),
  );
  const r = Math.sqrt(10);
  expectClose(s, tensor([3 * Math.sqrt(5), Math.sqrt(5)], undefined, "float64"));
  expectClose(
    u,
    tensor(
      [
        [1 / r, 3 / r],
        [3 / r, -1 / r],
      ],
      undefined,
      "float64",
    ),
  );
  const h = Math.SQRT1_2;
  expectClose(
    vt,
    tensor(
      [
        [h, h],
        [h, -h],
      ],
      undefined,
      "float64",
    ),
  );
});

test("u s vt is the matrix, u and vt are orthonormal, values descend, signs are canonical", () => {
  fc.assert(
    fc.property(anyKind, anySize, anySize, fc.nat(1000), (kind, m, n, seed) => {
      const a = matrixOf(kind, m, n, seed);
      const { u, singularValues: s, vt } = svd(a);
      const values = toFloat64(s);
      const k = Math.min(m, n);
      const unit = 1e-14 * Math.max(m, n);
      expect(gap(times(turned(plain(u)), plain(u)), eye(k))).toBeLessThanOrEqual(unit);
      expect(gap(times(plain(vt), turned(plain(vt))), eye(k))).toBeLessThanOrEqual(unit);
      const product = times(times(plain(u), diagonal(values)), plain(vt));
      expect(gap(product, plain(a))).toBeLessThanOrEqual(unit * values[0]);
      for (let i = 0; i < k; i++) {
        expect(values[i]).toBeGreaterThanOrEqual(0);
        if (i > 0) expect(values[i]).toBeLessThanOrEqual(values[i - 1]);
        const column = Array.from({ length: m }, (_, r) => plain(u).values[r * k + i]);
        const largest = Math.max(...column.map(Math.abs));
        expect(column.find((value) => Math.abs(value) > 0.999999999 * largest)).toBeGreaterThan(0);
      }
      const alone = toFloat64(singularValues(a));
      for (let i = 0; i < k; i++) expect(Math.abs(alone[i] - values[i])).toBeLessThanOrEqual(unit * values[0]);
    }),
    { numRuns: 150, seed: 1 },
  );
});

test("a view gives what its copy gives, and the transpose the same values", () => {
  const a = matrixOf("normal", 30, 28, 5);
  const part = slice(a, [{ start: 2 }, { start: 1, step: 1 }]);
  const turnedPart = transpose(part);
  expectClose(svd(turnedPart).singularValues, svd(part).singularValues, 1e-14);
  expect(svd(part).u.data).toEqual(svd(tensor(Array.from(plain(part).values), part.shape, "float64")).u.data);
});

test("twice the same call gives the same bits", () => {
  const a = matrixOf("normal", 80, 70, 3);
  expect(svd(a).u.data).toEqual(svd(a).u.data);
});

test("rank keeps the first vectors, full completes them", () => {
  for (const [m, n] of [
    [7, 4],
    [4, 7],
    [60, 30],
    [30, 60],
  ]) {
    const a = matrixOf("normal", m, n, 2);
    const whole = svd(a);
    const part = svd(a, { rank: 3 });
    expect([part.u.shape, part.singularValues.shape, part.vt.shape]).toEqual([[m, 3], [3], [3, n]]);
    expectClose(part.vt, slice(whole.vt, [{ end: 3 }]), 0);
    const full = svd(a, { full: true });
    expect([full.u.shape, full.vt.shape]).toEqual([
      [m, m],
      [n, n],
    ]);
    expect(gap(times(turned(plain(full.u)), plain(full.u)), eye(m))).toBeLessThan(1e-13);
    expect(gap(times(plain(full.vt), turned(plain(full.vt))), eye(n))).toBeLessThan(1e-13);
    expectClose(slice(full.u, [{}, { end: Math.min(m, n) }]), whole.u, 0);
  }
});

test("float32 in, float32 out", () => {
  const a = cast(matrixOf("normal", 40, 30, 1), "float32");
  const { u, singularValues: s, vt } = svd(a);
  expect([u.dtype, s.dtype, vt.dtype]).toEqual(["float32", "float32", "float32"]);
  const product = times(times(plain(u), diagonal(toFloat64(s))), plain(vt));
  expect(gap(product, plain(a))).toBeLessThan(1e-5);
});

test("the rank of what has one is found", () => {
  expect(numericalRank(matrixOf("low rank", 40, 33, 4))).toBeLessThanOrEqual(3);
  expect(numericalRank(matrixOf("zero", 4, 3, 4))).toBe(0);
  expect(
    numericalRank(
      tensor([
        [1, 0],
        [0, 1e-3],
      ]),
      { tolerance: 1e-2 },
    ),
  ).toBe(1);
  expect(size(plain(singularValues(tensor([[0, 0]]))))).toBe(0);
});
