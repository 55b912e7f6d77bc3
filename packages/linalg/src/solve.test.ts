import { expectClose, tensor } from "@loomweight/tensor";
import fc from "fast-check";
import { expect, test } from "vitest";
import { gap, plain, size, times } from "../test/arithmetic.ts";
import { anySize, matrixOf } from "../test/matrices.ts";
import { logdet } from "./logdet.ts";
import { inverse, solve, solveTriangular } from "./solve.ts";

test("worked example", () => {
  const a = tensor(
    [
      [0, 2],
      [1, 1],
    ],
    undefined,
    "float64",
  );
  expectClose(solve(a, tensor([[4], [5]], undefined, "float64")), tensor([[3], [2]], undefined, "float64"), 0);
  expectClose(
    inverse(a),
    tensor(
      [
        [-0.5, 1],
        [0.5, 0],
      ],
      undefined,
      "float64",
    ),
    0,
  );
  const { logAbsDet, sign } = logdet(a);
  expect(logAbsDet).toBeCloseTo(Math.log(2), 15);
  expect(sign).toBe(-1);
});

test("a times the solution is b, for any scale", () => {
  fc.assert(
    fc.property(fc.constantFrom("normal", "tiny", "huge"), anySize, anySize, fc.nat(1000), (kind, n, k, seed) => {
      const a = matrixOf(kind, n, n, seed);
      const b = matrixOf(kind, n, k, seed + 1);
      const x = plain(solve(a, b));
      const error = gap(times(plain(a), x), plain(b));
      expect(error).toBeLessThanOrEqual(1e-13 * n * (size(plain(a)) * size(x) + size(plain(b))));
    }),
    { numRuns: 80, seed: 5 },
  );
});

test("the determinant of a product is the product of determinants, without overflow", () => {
  for (const n of [3, 40, 100]) {
    const [a, b] = [matrixOf("huge", n, n, 1), matrixOf("tiny", n, n, 2)];
    const product = times(plain(a), plain(b));
    const whole = logdet(tensor(product.values, [n, n], "float64"));
    const [first, second] = [logdet(a), logdet(b)];
    expect(whole.logAbsDet).toBeCloseTo(first.logAbsDet + second.logAbsDet, 8);
    expect(whole.sign).toBe(first.sign * second.sign);
  }
  expect(
    logdet(
      tensor([
        [1, 2],
        [2, 4],
      ]),
    ),
  ).toEqual({ logAbsDet: Number.NEGATIVE_INFINITY, sign: 0 });
});

test("triangles: either, turned, with a diagonal of ones", () => {
  fc.assert(
    fc.property(anySize, fc.boolean(), fc.boolean(), fc.boolean(), fc.nat(99), (n, lower, transpose, unit, seed) => {
      const source = plain(matrixOf("normal", n, n, seed));
      const t = { rows: n, columns: n, values: new Float64Array(n * n) };
      for (let i = 0; i < n; i++) {
        for (let j = 0; j < n; j++) {
          const kept = lower ? j < i : j > i;
          const entry =
            i === j ? (unit ? 1 : 2 + Math.abs(source.values[i * n + j])) : kept ? source.values[i * n + j] / n : 0;
          t.values[transpose ? j * n + i : i * n + j] = entry;
        }
      }
      // what stands in the other triangle, or on a diagonal of ones, is not read
      const dirty = new Float64Array(n * n).fill(9);
      for (let i = 0; i < n; i++) {
        for (let j = 0; j < n; j++) {
          const at = transpose ? j * n + i : i * n + j;
          if ((lower ? j < i : j > i) || (i === j && !unit)) dirty[i * n + j] = t.values[at];
        }
      }
      const b = matrixOf("normal", n, 3, seed + 1);
      const a = tensor(dirty, [n, n], "float64");
      const x = solveTriangular(a, b, { lower, transpose, unitDiagonal: unit });
      expect(gap(times(t, plain(x)), plain(b))).toBeLessThan(1e-11);
    }),
    { numRuns: 80, seed: 6 },
  );
});

test("singular matrices are refused", () => {
  const one = tensor([[1], [1]]);
  expect(() =>
    solve(
      tensor([
        [1, 2],
        [2, 4],
      ]),
      one,
    ),
  ).toThrow(/solve: the matrix is singular to working precision.*lstsq/);
  expect(() =>
    inverse(
      tensor([
        [0, 0],
        [0, 0],
      ]),
    ),
  ).toThrow(/inverse: the matrix is singular/);
  expect(() =>
    solveTriangular(
      tensor([
        [1, 0],
        [1, 0],
      ]),
      one,
    ),
  ).toThrow(/0 at \[1, 1\]/);
  expect(() =>
    solve(
      tensor([
        [1, 2],
        [2, 5],
      ]),
      tensor([[1]]),
    ),
  ).toThrow(/tensor "b".*differ in rows/);
});
