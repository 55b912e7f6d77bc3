import fc from "fast-check";
import { expect, test } from "vitest";
import { philox } from "./philox.ts";
import { createRandom } from "./random.ts";

test("Philox4x32-10 gives the published words for known counters and keys", () => {
  const words = (...counterAndKey: [number, number, number, number, number, number]) => {
    const out = new Uint32Array(4);
    philox(out, 0, ...counterAndKey);
    return [...out].map((word) => word.toString(16).padStart(8, "0")).join(" ");
  };
  const ones = 0xffffffff;
  expect(words(0, 0, 0, 0, 0, 0)).toBe("6627e8d5 e169c58d bc57ac4c 9b00dbd8");
  expect(words(ones, ones, ones, ones, ones, ones)).toBe("408f276d 41c83b0e a20bc7c6 6d5451fd");
  expect(words(0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0)).toBe(
    "d16cfe09 94fdcceb 5001e420 24126ea1",
  );
});

test("a slice of a stream equals the stream at those indices, wherever it starts", () => {
  fc.assert(
    fc.property(
      fc.string(),
      fc.bigInt({ min: -(2n ** 63n), max: 2n ** 64n - 1n }),
      fc.nat(3000),
      fc.nat(2500),
      (name, seed, start, n) => {
        const random = createRandom(seed, name);
        const [uniforms, normals, words] = [new Float64Array(n), new Float64Array(n), new Uint32Array(n)];
        random.uniformsInto(uniforms, { start });
        random.normalsInto(normals, { start });
        random.uint32sInto(words, { start });
        for (const i of [0, 1, Math.floor(n / 2), n - 1]) {
          if (i < 0 || i >= n) continue;
          expect(uniforms[i]).toBe(random.uniform(start + i));
          expect(normals[i]).toBe(random.normal(start + i));
          expect(words[i]).toBe(random.uint32(start + i));
        }
      },
    ),
    { numRuns: 60 },
  );
});

test("recorded draws stay what they are: merged files depend on them", () => {
  const random = createRandom(42, "model.layers.0.mlp.up_proj.weight");
  expect(random.key).toEqual([3204270856, 2540417444]);
  expect([0, 1, 2 ** 40].map((i) => random.uint32(i))).toEqual([107347391, 1088166113, 716067667]);
  expect([0, 1, 2 ** 40].map((i) => random.uniform(i))).toEqual([
    0.024993756811010903, 0.005948804875304914, 0.18065771249053364,
  ]);
  expect([0, 1, 2 ** 40].map((i) => random.normal(i))).toEqual([
    0.22483798305266242, 0.008407784778171076, 0.526444927038026,
  ]);
  expect([...random.permutation(8)]).toEqual([2, 7, 6, 5, 3, 4, 1, 0]);
});

test("seed, name and child each change the stream; equal ones give equal streams", () => {
  const first = (seed: number | bigint, name: string) => createRandom(seed, name).uint32(0);
  expect(first(1, "a")).toBe(first(1n, "a"));
  const others = [first(1, "a"), first(2, "a"), first(1, "b"), first(1, ""), first(1, "a\u0080"), first(-1, "a")];
  others.push(createRandom(1, "a").child("").uint32(0), createRandom(1, "a").child("a").uint32(0));
  others.push(first(1, "x".repeat(16)), first(1, "x".repeat(17)), first(2n ** 32n + 1n, "a"));
  expect(new Set(others).size).toBe(others.length);
});

test("uniforms and normals have the moments of their distributions", () => {
  const n = 200_000;
  const [uniforms, normals] = [new Float64Array(n), new Float64Array(n)];
  createRandom(7, "moments").uniformsInto(uniforms, { low: -1, high: 3 });
  createRandom(7, "moments").child("normals").normalsInto(normals, { mean: 2, deviation: 0.5 });
  const moments = (values: Float64Array) => {
    const mean = values.reduce((sum, x) => sum + x, 0) / n;
    const central = (power: number) => values.reduce((sum, x) => sum + (x - mean) ** power, 0) / n;
    return { mean, variance: central(2), skew: central(3) / central(2) ** 1.5, kurtosis: central(4) / central(2) ** 2 };
  };
  const u = moments(uniforms);
  expect(Math.abs(u.mean - 1)).toBeLessThan(0.013); // 5 standard errors
  expect(Math.abs(u.variance - 4 / 3)).toBeLessThan(0.014);
  const g = moments(normals);
  expect(Math.abs(g.mean - 2)).toBeLessThan(0.0056);
  expect(Math.abs(g.variance - 0.25)).toBeLessThan(0.004);
  expect(Math.abs(g.skew)).toBeLessThan(0.028);
  expect(Math.abs(g.kurtosis - 3)).toBeLessThan(0.055);
  // Neighbours (the two of one pair and the next pair) are uncorrelated.
  for (const lag of [1, 2]) {
    let product = 0;
    for (let i = 0; i + lag < n; i++) product += (normals[i] - 2) * (normals[i + lag] - 2);
    expect(Math.abs(product / n / 0.25)).toBeLessThan(0.0112);
  }
});

test("permutations hold every index once and place each value evenly", () => {
  fc.assert(
    fc.property(fc.nat(50), fc.nat(), (n, seed) => {
      expect([...createRandom(seed, "order").permutation(n)].sort((a, b) => a - b)).toEqual([...Array(n).keys()]);
    }),
  );
  const counts = new Array(5).fill(0);
  for (let seed = 0; seed < 5000; seed++) counts[createRandom(seed, "place").permutation(5).indexOf(0)]++;
  for (const count of counts) expect(Math.abs(count - 1000)).toBeLessThan(142); // 5 standard deviations
});

test("bad seeds and ranges are refused by name", () => {
  expect(() => createRandom(1.5, "a")).toThrow(/option seed.*found 1.5/);
  expect(() => createRandom(2n ** 64n, "a")).toThrow(/option seed/);
  const random = createRandom(1, "a");
  expect(() => random.uniform(-1)).toThrow(/indices from 0/);
  expect(() => random.normalsInto(new Float64Array(2), { start: 0.5 })).toThrow(/indices from 0/);
  expect(() => random.permutation(-1)).toThrow(/length/);
});
