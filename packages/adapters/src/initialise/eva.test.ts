import { matMul, transpose } from "@loomweight/graph";
import { contiguousData, fromData, type Tensor } from "@loomweight/tensor";
import { expect, test } from "vitest";
import { numbers } from "../../test/contract.ts";
import { eva, evaCount } from "./eva.ts";
import { incrementalPca, type PrincipalDirections } from "./principal-directions.ts";

const rows = (...values: number[][]) => fromData("float64", Float64Array.from(values.flat()), [values.length, 2]);
const close = (found: ArrayLike<number>, expected: readonly number[], digits = 5) => {
  expect(found.length).toBe(expected.length);
  expected.forEach((value, i) => {
    expect(found[i]).toBeCloseTo(value, digits);
  });
};
const entries = (tensor: unknown) => contiguousData(tensor as Tensor) as Float64Array;
const withRatios = (...ratios: number[]): PrincipalDirections => ({
  components: numbers(`c${ratios}`, [ratios.length, 4]),
  singularValues: Float64Array.from(ratios, (ratio) => ratio * 10),
  ratios: Float64Array.from(ratios),
});

test("worked example: one batch of four rows", () => {
  const pca = incrementalPca(2, 2);
  pca.add(rows([2, 0], [0, 1], [-2, 0], [0, -1]));
  const { components, singularValues, ratios } = pca.directions();
  close(entries(components), [1, 0, 0, 1]);
  close(singularValues, [2 * Math.SQRT2, Math.SQRT2]);
  close(ratios, [0.8, 0.2]);
});

test("worked example: two batches are what all five rows at once are", () => {
  const split = incrementalPca(2, 2);
  split.add(rows([2, 1], [0, 1]));
  split.add(rows([-2, 0], [0, -2], [1, 3]));
  const once = incrementalPca(2, 2);
  once.add(rows([2, 1], [0, 1], [-2, 0], [0, -2], [1, 3]));
  for (const { components, singularValues, ratios } of [split.directions(), once.directions()]) {
    close(entries(components), [0.525731, 0.850651, 0.850651, -0.525731]);
    close(singularValues, [3.98991, 2.4659]);
    close(ratios, [0.723607, 0.276393], 6);
  }
});

test("ranks go where the variance is, alpha follows, and a layer without rank is removed", () => {
  const directions = new Map([
    ["a", withRatios(0.97, 0.03)],
    ["b", withRatios(0.6, 0.4)],
    ["c", withRatios(0.35, 0.3)],
  ]);
  const start = eva(directions, { rank: 1, alpha: 1, rho: 2 });
  expect(start.rankPattern).toEqual({ b: 2 });
  expect(start.alphaPattern).toEqual({ b: 2 });
  expect(start.removed).toEqual(["c"]);
  expect([...start.layers].map(([path, { rank }]) => [path, rank])).toEqual([
    ["a", 1],
    ["b", 2],
  ]);
  expect(eva(directions, { rank: 1, alpha: 1, adjustScaling: false }).alphaPattern).toEqual({});
});

test("at rho = 1 every layer has the rank that was asked for", () => {
  const start = eva(new Map([3, 5, 7].map((n) => [`layer ${n}`, withRatios(0.9 / n, 0.1 / n)])), { rank: 2, rho: 1 });
  expect([start.rankPattern, start.alphaPattern, start.removed]).toEqual([{}, {}, []]);
});

test("A's rows are orthonormal; whitened they have length 1 / √S", () => {
  const pca = incrementalPca(6, 3);
  pca.add(numbers("inputs", [20, 6]));
  const directions = new Map([["layer", pca.directions()]]);
  const gram = (whiten: boolean) => {
    const A = eva(directions, { rank: 3, rho: 1, whiten }).layers.get("layer")?.A as Tensor;
    return entries(matMul(A, transpose(A, [1, 0])));
  };
  const values = pca.directions().singularValues;
  const diagonal = (of: (i: number) => number) => [0, 1, 2].flatMap((i) => [0, 1, 2].map((j) => (i === j ? of(i) : 0)));
  close(
    gram(false),
    diagonal(() => 1),
    10,
  );
  close(
    gram(true),
    diagonal((i) => 1 / values[i]),
    10,
  );
});

test("layers with one input share directions, and the first keeps the largest rank", () => {
  const shared = withRatios(0.5, 0.3);
  const start = eva(
    new Map([
      ["q", shared],
      ["k", shared],
      ["o", withRatios(0.4, 0.3)],
    ]),
    { rank: 1, rho: 2 },
  );
  expect([...start.layers].map(([path, { rank }]) => [path, rank])).toEqual([
    ["q", 1],
    ["k", 1],
    ["o", 1],
  ]);
});

test("PEFT rounds halves of rho · rank to the even number", () => {
  expect([evaCount({ rank: 3, rho: 1.5 }), evaCount({ rank: 1, rho: 1.5 }), evaCount({ rank: 4, rho: 1.3 })]).toEqual([
    4, 2, 5,
  ]);
});

test("what does not fit is refused by name", () => {
  expect(() => eva(new Map([["a", withRatios(1)]]), { rank: 1, rho: 2 })).toThrow(/too few directions/);
  expect(() => eva(new Map(), { rho: 0.5 })).toThrow(/rho/);
  expect(() => incrementalPca(3, 4)).toThrow(/from 1 to 3/);
  expect(() => incrementalPca(3, 2).directions()).toThrow(/at least 2 rows/);
  expect(() => incrementalPca(3, 2).add(numbers("x", [4, 2]))).toThrow(/rows/);
  expect(incrementalPca(3, 2).add(numbers("x", [1, 3]))).toBe(false);
});
