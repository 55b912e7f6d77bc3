import { createRandom, tensor, toFloat64 } from "@loomweight/tensor";
import fc from "fast-check";
import { expect, test } from "vitest";
import { matrixOf } from "../test/matrices.ts";
import { kMeans } from "./k-means.ts";

test("clusters that lie apart are found, far from the origin too", () => {
  const random = createRandom(1, "points");
  const points = new Float64Array(300 * 2);
  random.normalsInto(points);
  for (let i = 0; i < 300; i++) {
    points[2 * i] += 1e6 + 20 * (i % 3);
    points[2 * i + 1] -= 1e6;
  }
  const { centroids, labels, inertia } = kMeans(tensor(points, [300, 2], "float64"), { clusters: 3, restarts: 3 });
  for (let i = 0; i < 300; i++) expect(labels[i]).toBe(labels[i % 3]);
  const first = [...toFloat64(centroids)].filter((_, i) => i % 2 === 0).sort((a, b) => a - b);
  first.forEach((value, i) => {
    expect(Math.abs(value - 1e6 - 20 * i)).toBeLessThan(0.5);
  });
  expect(inertia).toBeLessThan(2 * 300 * 1.2);
});

test("labels are nearest centroids, inertia is their sum, more rounds never hurt, the seed decides", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 6 }), fc.integer({ min: 6, max: 60 }), fc.nat(99), (clusters, n, seed) => {
      const points = matrixOf("whole", n, 3, seed);
      const found = kMeans(points, { clusters, seed });
      const [x, c] = [toFloat64(points), toFloat64(found.centroids)];
      let sum = 0;
      for (let i = 0; i < n; i++) {
        const distance = (k: number) => [0, 1, 2].reduce((total, d) => total + (x[3 * i + d] - c[3 * k + d]) ** 2, 0);
        const least = Math.min(...Array.from({ length: clusters }, (_, k) => distance(k)));
        expect(distance(found.labels[i])).toBeCloseTo(least, 9);
        sum += distance(found.labels[i]);
      }
      expect(found.inertia).toBeCloseTo(sum, 8);
      expect(kMeans(points, { clusters, seed }).labels).toEqual(found.labels);
      const short = kMeans(points, { clusters, seed, iterations: 1 });
      expect(found.inertia).toBeLessThanOrEqual(short.inertia * (1 + 1e-12));
    }),
    { numRuns: 40, seed: 13 },
  );
});

test("coinciding points, and as many clusters as points", () => {
  const same = kMeans(tensor(new Float64Array(8).fill(2), [4, 2], "float64"), { clusters: 3 });
  expect(same.inertia).toBe(0);
  expect([...toFloat64(same.centroids)].every((value) => value === 2)).toBe(true);
  expect(kMeans(matrixOf("normal", 5, 2, 1), { clusters: 5, restarts: 5 }).inertia).toBeLessThan(1e-20);
});

test("bad input is refused by name", () => {
  const points = matrixOf("normal", 3, 2, 1);
  expect(() => kMeans(points, { clusters: 4 })).toThrow(/kMeans: there are fewer points than clusters/);
  expect(() => kMeans(points, { clusters: 0 })).toThrow(/option kMeans.clusters/);
  expect(() => kMeans(points, { clusters: 1, tolerance: -1 })).toThrow(/option kMeans.tolerance/);
});

test("a weight of 2 is a point twice; centroids to start from are used as they are", () => {
  const points = tensor([0, 1, 5, 6, 9], [5, 1], "float64");
  const twice = tensor([0, 0, 1, 5, 6, 9, 9], [7, 1], "float64");
  const start = tensor([0, 9], [2, 1], "float64");
  const weighted = kMeans(points, { clusters: 2, start, weights: [2, 1, 1, 1, 2] });
  const plain = kMeans(twice, { clusters: 2, start });
  for (const i of [0, 1]) expect(toFloat64(weighted.centroids)[i]).toBeCloseTo(toFloat64(plain.centroids)[i], 12);
  expect(weighted.inertia).toBeCloseTo(plain.inertia, 12);
  // from 0 and 9: {0, 1} and {5, 6, 9}
  const one = kMeans(points, { clusters: 2, start, iterations: 1 });
  expect([...one.labels]).toEqual([0, 0, 1, 1, 1]);
  expect(toFloat64(one.centroids)[0]).toBe(0.5);
  expect(toFloat64(one.centroids)[1]).toBeCloseTo(20 / 3, 12);
  expect(() => kMeans(points, { clusters: 2, weights: [1, 1] })).toThrow(
    expect.objectContaining({ code: "INVALID_OPTION" }),
  );
  expect(() => kMeans(points, { clusters: 2, weights: [1, 1, 0, 1, 1] })).toThrow(/above 0/);
  expect(() => kMeans(points, { clusters: 3, start })).toThrow(expect.objectContaining({ code: "SHAPE_MISMATCH" }));
});
