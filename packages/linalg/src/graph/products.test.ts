import { input } from "@loomweight/graph";
import { evaluate } from "@loomweight/graph/node";
import { cast, expectClose, maxAbsDifference, tensor, toFloat64 } from "@loomweight/tensor";
import fc from "fast-check";
import { expect, test } from "vitest";
import { eye, gap, plain, times, turned } from "../../test/arithmetic.ts";
import { definiteOf, matrixOf } from "../../test/matrices.ts";
import { polar } from "../polar.ts";
import { inverseRoot } from "../sqrtm.ts";
import { singularValues } from "../svd.ts";
import { newtonInverseRoot } from "./inverse-root.ts";
import { newtonSchulz } from "./newton-schulz.ts";

test("newtonSchulz gives the polar factor, tall or wide, tiny or huge", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 20 }), fc.integer({ min: 1, max: 20 }), fc.nat(999), (m, n, seed) => {
      for (const kind of ["normal", "tiny", "huge"] as const) {
        const a =
          kind === "normal"
            ? matrixOf(kind, m, n, seed)
            : scaledBy(matrixOf("normal", m, n, seed), kind === "tiny" ? 1e-20 : 1e20);
        const u = newtonSchulz(a, { smallest: 1e-7 });
        expect(maxAbsDifference(u, polar(a).u)).toBeLessThan(1e-9);
      }
    }),
    { numRuns: 40, seed: 15 },
  );
});

function scaledBy(a: ReturnType<typeof matrixOf>, factor: number) {
  return tensor(
    toFloat64(a).map((value) => value * factor),
    a.shape,
    "float64",
  );
}

test("newtonSchulz of zero is zero, and rounds are checked", () => {
  expect(toFloat64(newtonSchulz(matrixOf("zero", 3, 2, 1)))).toEqual(new Float64Array(6));
  expect(() => newtonSchulz(input("x", "float32", ["n", 3]))).toThrow(/sizes that are known/);
  expect(() => newtonSchulz(matrixOf("zero", 3, 2, 1), { smallest: 2 })).toThrow(/option newtonSchulz.smallest/);
  expect(() => newtonSchulz(matrixOf("zero", 3, 2, 1), { rounds: 0 })).toThrow(/option newtonSchulz.rounds/);
});

test("newtonInverseRoot gives inverse roots", () => {
  for (const n of [1, 5, 20]) {
    for (const p of [1, 2, 3, 4]) {
      for (const scale of [1e-20, 1, 1e20]) {
        const a = scaledBy(definiteOf(n, 3), scale);
        const wanted = inverseRoot(a, p);
        const error = maxAbsDifference(newtonInverseRoot(a, p), wanted);
        expect(error).toBeLessThan(1e-10 * Math.max(...toFloat64(wanted).map(Math.abs)));
      }
    }
  }
  expect(() => newtonInverseRoot(matrixOf("normal", 2, 3, 1), 2)).toThrow(/a square matrix/);
});

test("in a graph both are float32 to its rounding", async () => {
  const a = cast(matrixOf("normal", 48, 32, 4), "float32");
  const spd = cast(definiteOf(24, 5), "float32");
  const [x, y] = [input("x", "float32", [48, 32]), input("y", "float32", [24, 24])];
  const { u, root } = await evaluate({ u: newtonSchulz(x), root: newtonInverseRoot(y, 2) }, { x: a, y: spd });
  expect(gap(times(turned(plain(u)), plain(u)), eye(32))).toBeLessThan(2e-6);
  const s = toFloat64(singularValues(a));
  expectClose(u, polar(a).u, (10 * 48 * 6e-8 * s[0]) / (s[30] + s[31])); // as the recorded references allow
  expectClose(root, inverseRoot(spd, 2), 1e-4);
});
