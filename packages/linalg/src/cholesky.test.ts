import { expectClose, LoomweightError, tensor } from "@loomweight/tensor";
import fc from "fast-check";
import { expect, test } from "vitest";
import { eye, gap, plain, times, turned } from "../test/arithmetic.ts";
import { anySize, definiteOf } from "../test/matrices.ts";
import { cholesky } from "./cholesky.ts";
import { inverse, solveTriangular } from "./solve.ts";

test("worked example", () => {
  const l = cholesky(
    tensor(
      [
        [4, 2],
        [2, 10],
      ],
      undefined,
      "float64",
    ),
  );
  expectClose(
    l,
    tensor(
      [
        [2, 0],
        [1, 3],
      ],
      undefined,
      "float64",
    ),
    0,
  );
});

test("l l^T is the matrix plus the shift; triangular solves invert l", () => {
  fc.assert(
    fc.property(anySize, fc.nat(1000), fc.constantFrom(0, 0.5), (n, seed, shift) => {
      const a = definiteOf(n, seed);
      const l = cholesky(a, { shift });
      const shifted = plain(a);
      for (let i = 0; i < n; i++) shifted.values[i * n + i] += shift;
      expect(gap(times(plain(l), turned(plain(l))), shifted)).toBeLessThan(1e-12);
      const unit = tensor(eye(n).values, [n, n], "float64");
      const below = solveTriangular(l, unit);
      const above = solveTriangular(l, below, { transpose: true });
      if (shift === 0) expect(gap(plain(above), plain(inverse(a)))).toBeLessThan(1e-9);
    }),
    { numRuns: 60, seed: 4 },
  );
});

test("tiny and huge matrices keep their digits", () => {
  for (const scale of [1e-300, 1e-20, 1e20, 1e300]) {
    const l = cholesky(
      tensor(
        [
          [4 * scale, 2 * scale],
          [2 * scale, 10 * scale],
        ],
        undefined,
        "float64",
      ),
    );
    expect(plain(l).values[3] / Math.sqrt(scale)).toBeCloseTo(3, 12);
  }
});

test("a matrix that is not positive definite is refused with the row", () => {
  const fault = () =>
    cholesky(
      tensor([
        [1, 2],
        [2, 1],
      ]),
    );
  expect(fault).toThrow(LoomweightError);
  expect(fault).toThrow(/stops in row 1 of 2.*expected a pivot above 0, found -3.*shift/);
});
