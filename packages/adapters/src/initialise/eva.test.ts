import { matMul, transpose } from "@loomweight/graph";
import { contiguousData, fromData, type Tensor } from "@loomweight/tensor";
import fc from "fast-check";
import { expect, test } from "vitest";
import { numbers } from "../../test/contract.ts";
import { eva, evaCount } from "./eva.ts";
import { incrementalPca, type PrincipalDirections } from "./principal-directions.ts";
import { distributeRanks } from "./rank-distribution.ts";

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
  variances: Float64Array.from(ratios, (ratio) => (ratio * 10) ** 2),
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

test("rows of any split give what all rows at once give, where every direction is kept", () => {
  const all = numbers("inputs", [24, 5]);
  const once = incrementalPca(5, 5);
  once.add(all);
  const expected = once.directions();
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 5, max: 9 }), { minLength: 1, maxLength: 3 }), (sizes) => {
      const split = incrementalPca(5, 5);
      let from = 0;
      for (const size of [...sizes, 24]) {
        const rest = 24 - from - size;
        const end = rest >= 5 ? from + size : 24;
        if (end > from)
          split.add(fromData("float64", (all.data as Float64Array).slice(from * 5, end * 5), [end - from, 5]));
        from = end;
      }
      const found = split.directions();
      close(found.singularValues, [...expected.singularValues], 10);
      close(found.ratios, [...expected.ratios], 10);
      close(entries(found.components), [...entries(expected.components)], 8);
    }),
    { seed: 7, numRuns: 12 },
  );
});

test("what the directions leave of the inputs is the variance they do not explain", () => {
  const x = numbers("inputs", [30, 6]);
  const pca = incrementalPca(6, 2);
  pca.add(x);
  const { components, ratios, variances, singularValues } = pca.directions();
  const means = Array.from({ length: 6 }, (_, j) => {
    let sum = 0;
    for (let i = 0; i < 30; i++) sum += x.data[i * 6 + j] / 30;
    return sum;
  });
  let total = 0;
  let left = 0;
  for (let i = 0; i < 30; i++) {
    const row = Array.from({ length: 6 }, (_, j) => x.data[i * 6 + j] - means[j]);
    const along = [0, 1].map((k) => row.reduce((sum, value, j) => sum + value * entries(components)[k * 6 + j], 0));
    total += row.reduce((sum, value) => sum + value ** 2, 0);
    left += row.reduce((sum, value) => sum + value ** 2, 0) - along.reduce((sum, value) => sum + value ** 2, 0);
  }
  expect(left / total).toBeCloseTo(1 - ratios[0] - ratios[1], 10);
  expect(variances[0]).toBeCloseTo(singularValues[0] ** 2 / 29, 10);
});

test("order of rows, a stream twice over and the scale of a layer's inputs change nothing", () => {
  const rows = numbers("inputs", [12, 4]);
  const turned = fromData(
    "float64",
    Float64Array.from(rows.data as Float64Array, (_, i) => {
      const row = (Math.floor(i / 4) * 5) % 12;
      return rows.data[row * 4 + (i % 4)];
    }),
    [12, 4],
  );
  const found = (feeds: readonly Tensor[]) => {
    const pca = incrementalPca(4, 2);
    for (const each of feeds) pca.add(each);
    return pca.directions();
  };
  const scaled = fromData(
    "float64",
    Float64Array.from(rows.data as Float64Array, (value) => 7 * value),
    [12, 4],
  );
  const once = found([rows]);
  close(entries(found([turned]).components), [...entries(once.components)], 9);
  close(entries(found([rows, rows]).components), [...entries(once.components)], 9);
  close(found([rows, rows]).ratios, [...once.ratios], 9);
  close(found([scaled]).ratios, [...once.ratios], 9);
});

test("without the mean taken out, directions are the singular vectors of the rows", () => {
  const shifted = fromData("float64", Float64Array.of(5, 1, 5, -1, 5, 0, 5, 0), [4, 2]);
  const [centred, raw] = [true, false].map((center) => {
    const pca = incrementalPca(2, 1, { center });
    pca.add(shifted);
    return pca.directions();
  });
  close(entries(centred.components), [0, 1]);
  close(entries(raw.components), [1, 0]);
  close(raw.singularValues, [10]);
});

test("ranks sum to the budget, none is above what its layer offers, and more choice explains no less", () => {
  fc.assert(
    fc.property(
      fc.array(fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 4, maxLength: 4 }), {
        minLength: 2,
        maxLength: 6,
      }),
      (values) => {
        const layers = values.map((shares, i) => ({ path: `${i}`, shares: [...shares].sort((a, b) => b - a) }));
        const captured = (most: number) => {
          const ranks = distributeRanks(
            layers.map(({ path, shares }) => ({ path, shares: shares.slice(0, most) })),
            2 * layers.length,
          );
          expect([...ranks.values()].reduce((sum, rank) => sum + rank, 0)).toBe(2 * layers.length);
          expect(Math.max(...ranks.values())).toBeLessThanOrEqual(most);
          return layers.reduce(
            (sum, { path, shares }) =>
              sum + shares.slice(0, ranks.get(path)).reduce((inner, value) => inner + value, 0),
            0,
          );
        };
        expect(captured(4)).toBeGreaterThanOrEqual(captured(2) - 1e-12);
      },
    ),
    { seed: 3, numRuns: 50 },
  );
});

test("other metrics weigh layers otherwise: raw by size, sum and max within what is looked at", () => {
  const directions = new Map([
    ["a", { ...withRatios(0.3, 0.25, 0.25, 0.2), variances: Float64Array.of(1, 0.9, 0.9, 0.9) }],
    ["b", { ...withRatios(0.9, 0.02, 0.02, 0.02), variances: Float64Array.of(10, 1.1, 1, 1) }],
    ["c", { ...withRatios(0.04, 0.03, 0.02, 0.02), variances: Float64Array.of(0.1, 0.08, 0, 0) }],
  ]);
  const ranks = (metric: "ratio" | "raw" | "sum" | "max") =>
    [...eva(directions, { rank: 2, rho: 2, metric }).layers].map(([path, { rank }]) => `${path}${rank}`).join(" ");
  expect(ranks("ratio")).toBe("a4 b1 c1");
  expect(ranks("raw")).toBe("a2 b4");
  expect(ranks("sum")).toBe("a3 b1 c2");
  expect(ranks("max")).toBe("a4 b1 c1");
});

test("rows scaled by singular values: the first keeps length 1; not together with whitening", () => {
  const start = eva(new Map([["a", withRatios(0.8, 0.2)]]), { rank: 2, rho: 1, scaleBySingularValues: true });
  const plain = eva(new Map([["a", withRatios(0.8, 0.2)]]), { rank: 2, rho: 1 });
  const [scaled, own] = [start, plain].map(({ layers }) => entries(layers.get("a")?.A));
  close(scaled.slice(0, 4), [...own.slice(0, 4)], 12);
  close(
    scaled.slice(4),
    Array.from(own.slice(4), (value) => value * 0.25),
    12,
  );
  expect(() => eva(new Map(), { whiten: true, scaleBySingularValues: true })).toThrow(/one of whiten/);
});

test("layers with ranks and alphas of their own compete with them", () => {
  const directions = new Map([
    ["a", withRatios(0.9, 0.05, 0.02, 0.01)],
    ["b", withRatios(0.5, 0.4)],
  ]);
  const start = eva(
    directions,
    { rank: 1, alpha: 2, rho: 2 },
    { ranks: new Map([["a", 2]]), alphas: new Map([["a", 6]]) },
  );
  expect([...start.layers].map(([path, { rank, alpha }]) => [path, rank, alpha])).toEqual([
    ["a", 1, 3], // 6 / 2 stays
    ["b", 2, 4],
  ]);
  expect(start.rankPattern).toEqual({ b: 2 });
  expect(start.alphaPattern).toEqual({ a: 3, b: 4 });
});

test("what does not fit is refused by name", () => {
  expect(() => eva(new Map([["a", withRatios(1)]]), { rank: 1, rho: 2 })).toThrow(/too few directions/);
  expect(() => eva(new Map(), { rho: 0.5 })).toThrow(/rho/);
  expect(() => incrementalPca(3, 4)).toThrow(/from 1 to 3/);
  expect(() => incrementalPca(3, 2).directions()).toThrow(/at least 2 rows/);
  expect(() => incrementalPca(3, 2).add(numbers("x", [4, 2]))).toThrow(/rows/);
  expect(incrementalPca(3, 2).add(numbers("x", [1, 3]))).toBe(false);
});
