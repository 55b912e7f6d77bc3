import { createRandom, fromFloat64, type Tensor, tensor, toFloat64 } from "@loomweight/tensor";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { adapt } from "../adapt.ts";
import { affinityMatrix } from "../affinity.ts";
import { correctPredictions, type LameOptions, lameObjective } from "../laplacian.ts";
import { rowsOf, softmaxRows } from "../rows.ts";
import { lame } from "./lame.ts";

const q = fromFloat64(Float64Array.of(0.9, 0.1, 0.6, 0.4, 0.3, 0.7), [3, 2]);
const f = fromFloat64(Float64Array.of(1, 0, 0.8, 0.6, 0.6, 0.8), [3, 2]);
const firstColumn = (y: Tensor) => [...toFloat64(y)].filter((_, i) => i % y.shape[1] === 0);

describe("worked example of the paper's formulas", () => {
  const cases: [LameOptions, number[], number, number[], number][] = [
    [{ affinity: "knn", k: 1 }, [0.916615, 0.501366, 0.343599], -1.52561, [0.900311, 0.50173, 0.300727], 21],
    [{ affinity: "knn", k: 1, symmetrize: true }, [0.908647, 0.6, 0.343599], -1.50475, [], 0],
    [{ affinity: "rbf", k: 2 }, [0.953546, 0.627733, 0.263764], -3.05196, [0.959258, 0.642717, 0.264929], 35],
    [{ affinity: "linear" }, [0.948691, 0.702967, 0.360015], -4.19057, [0.98402, 0.922125, 0.733035], 31],
  ];
  for (const [options, first, energy, last, iterations] of cases) {
    test(JSON.stringify(options), () => {
      const one = correctPredictions(q, f, { ...options, maxSteps: 1 });
      for (const [i, y] of firstColumn(one.probabilities).entries()) expect(y).toBeCloseTo(first[i], 5);
      expect(one.bound[0]).toBeCloseTo(energy, 4);
      if (last.length === 0) return;
      const all = correctPredictions(q, f, options);
      expect(all.iterations).toBe(iterations);
      for (const [i, y] of firstColumn(all.probabilities).entries()) expect(y).toBeCloseTo(last[i], 5);
    });
  }
});

/** Probabilities [n, classes] and features [n, width] from a seed. */
function batch(seed: number, n: number, classes: number, width: number): { q: Tensor; f: Tensor } {
  const random = createRandom(seed, "lame");
  const scores = new Float64Array(n * classes);
  random.child("scores").normalsInto(scores, { deviation: 2 });
  const features = new Float64Array(n * width);
  random.child("features").normalsInto(features);
  return {
    q: fromFloat64(softmaxRows({ rows: n, columns: classes, data: scores }).data, [n, classes]),
    f: fromFloat64(features, [n, width]),
  };
}

const anyBatch = fc
  .record({ seed: fc.nat(1e6), n: fc.integer({ min: 2, max: 12 }), classes: fc.integer({ min: 2, max: 5 }) })
  .map(({ seed, n, classes }) => ({ seed, n, classes, ...batch(seed, n, classes, 6) }));
const anyOptions = fc.record({
  affinity: fc.constantFrom("knn", "rbf", "linear"),
  k: fc.integer({ min: 2, max: 6 }),
  symmetrize: fc.boolean(),
}) as fc.Arbitrary<LameOptions>;

function expectNear(found: ArrayLike<number>, expected: ArrayLike<number>, tolerance: number): void {
  expect(found.length).toBe(expected.length);
  for (let i = 0; i < expected.length; i++) expect(Math.abs(found[i] - expected[i])).toBeLessThanOrEqual(tolerance);
}

describe("laws", () => {
  test("rows sum to 1 and lie in 0 … 1, even where a probability is 0", () => {
    fc.assert(
      fc.property(anyBatch, anyOptions, ({ q, f, classes }, options) => {
        const zeros = toFloat64(q).map((p, i) => (i % classes === 0 ? 0 : p));
        const y = toFloat64(correctPredictions(fromFloat64(zeros, q.shape), f, options).probabilities);
        for (const p of y) expect(p >= 0 && p <= 1).toBe(true);
        for (let n = 0; n < q.shape[0]; n++) {
          expect(y.subarray(n * classes, (n + 1) * classes).reduce((a, b) => a + b, 0)).toBeCloseTo(1, 12);
        }
      }),
      { seed: 1, numRuns: 60 },
    );
  });

  test("weight 0 and a batch of one leave the prediction as it is", () => {
    fc.assert(
      fc.property(anyBatch, anyOptions, ({ q, f }, options) => {
        expectNear(toFloat64(correctPredictions(q, f, { ...options, lambda: 0 }).probabilities), toFloat64(q), 1e-6);
      }),
      { seed: 2, numRuns: 30 },
    );
    const one = batch(3, 1, 4, 5);
    for (const affinity of ["knn", "rbf"] as const) {
      expectNear(toFloat64(correctPredictions(one.q, one.f, { affinity }).probabilities), toFloat64(one.q), 1e-6);
    }
  });

  test("the order of samples and of classes does not matter", () => {
    fc.assert(
      fc.property(anyBatch, anyOptions, ({ q, f, n, classes }, options) => {
        const reversedRows = (t: Tensor) => {
          const width = t.shape[1];
          const from = toFloat64(t);
          return fromFloat64(
            from.map((_, i) => from[(n - 1 - Math.floor(i / width)) * width + (i % width)]),
            t.shape,
          );
        };
        const reversedClasses = (t: Tensor) => {
          const from = toFloat64(t);
          return fromFloat64(
            from.map((_, i) => from[Math.floor(i / classes) * classes + (classes - 1 - (i % classes))]),
            t.shape,
          );
        };
        const plain = correctPredictions(q, f, { ...options, maxSteps: 8 }).probabilities;
        const rows = correctPredictions(reversedRows(q), reversedRows(f), { ...options, maxSteps: 8 }).probabilities;
        expectNear(toFloat64(reversedRows(rows)), toFloat64(plain), 1e-9);
        const columns = correctPredictions(reversedClasses(q), f, { ...options, maxSteps: 8 }).probabilities;
        expectNear(toFloat64(reversedClasses(columns)), toFloat64(plain), 1e-9);
      }),
      { seed: 4, numRuns: 40 },
    );
  });

  test("the length of a feature vector does not matter", () => {
    const { q, f } = batch(5, 9, 3, 6);
    const stretched = fromFloat64(
      toFloat64(f).map((x, i) => x * (1 + Math.floor(i / 6))),
      f.shape,
    );
    for (const affinity of ["knn", "rbf", "linear"] as const) {
      expectNear(
        toFloat64(correctPredictions(q, stretched, { affinity }).probabilities),
        toFloat64(correctPredictions(q, f, { affinity }).probabilities),
        1e-9,
      );
    }
  });

  test("with symmetric positive affinities the objective never rises, and ends at a fixed point", () => {
    fc.assert(
      fc.property(anyBatch, fc.constantFrom("rbf", "linear"), ({ q, f }, affinity) => {
        const w = affinityMatrix(rowsOf(f, "f"), { affinity: affinity as "rbf", k: 3, symmetrize: false });
        let before = lameObjective(q, q, w);
        for (let maxSteps = 1; maxSteps < 12; maxSteps++) {
          const { probabilities } = correctPredictions(q, f, { affinity: affinity as "rbf", k: 3, maxSteps });
          const after = lameObjective(probabilities, q, w);
          // The offset 1e-10 inside the logarithm moves the objective by as much.
          expect(after).toBeLessThanOrEqual(before + 1e-8);
          before = after;
        }
      }),
      { seed: 6, numRuns: 30 },
    );
  });

  test("uniform predictions stay uniform", () => {
    const { f } = batch(7, 8, 4, 6);
    const uniform = fromFloat64(new Float64Array(32).fill(0.25), [8, 4]);
    expectNear(toFloat64(correctPredictions(uniform, f).probabilities), new Float64Array(32).fill(0.25), 1e-12);
  });

  test("twins get equal predictions with rbf and linear", () => {
    const { q, f } = batch(8, 6, 3, 4);
    const twin = (t: Tensor) => {
      const values = toFloat64(t);
      values.copyWithin(0, t.shape[1], 2 * t.shape[1]);
      return fromFloat64(values, t.shape);
    };
    for (const affinity of ["rbf", "linear"] as const) {
      const y = toFloat64(correctPredictions(twin(q), twin(f), { affinity, k: 3 }).probabilities);
      expectNear(y.subarray(0, 3), y.subarray(3, 6), 1e-12);
    }
  });
});

test("a sorted stream gains at least 10 points with 5 neighbours, a shuffled one loses at most 4", async () => {
  // Ten Gaussian classes in 32 dimensions; the target is scaled and shifted feature by feature.
  const [classes, width, perClass] = [10, 32, 200];
  const gains = { sorted: 0, shuffled: 0 };
  for (const seed of [1, 2, 3]) {
    const random = createRandom(seed, "stream");
    const draw = (name: string, count: number, deviation: number) => {
      const out = new Float64Array(count);
      random.child(name).normalsInto(out, { deviation });
      return out;
    };
    const means = draw("means", classes * width, 0.55);
    const scale = draw("scale", width, 0.3).map(Math.exp);
    const shift = draw("shift", width, 0.35);
    const noise = draw("noise", classes * perClass * width, 1);
    const points = noise.map((e, i) => {
      const [label, d] = [Math.floor(i / (perClass * width)), i % width];
      return (means[label * width + d] + e) * scale[d] + shift[d];
    });
    const order = random.child("order").permutation(classes * perClass);
    for (const stream of ["sorted", "shuffled"] as const) {
      const adapter = await adapt(
        lame,
        {
          async classify(x) {
            const data = toFloat64(x);
            const logits = new Float64Array((data.length / width) * classes);
            for (let n = 0; n < data.length / width; n++) {
              for (let c = 0; c < classes; c++) {
                for (let d = 0; d < width; d++)
                  logits[n * classes + c] -= (data[n * width + d] - means[c * width + d]) ** 2 / 2;
              }
            }
            return { logits: fromFloat64(logits, [data.length / width, classes]), features: x };
          },
        },
        {},
      );
      for (let start = 0; start < order.length; start += 64) {
        const rows = Array.from({ length: Math.min(64, order.length - start) }, (_, i) =>
          stream === "sorted" ? start + i : order[start + i],
        );
        const x = new Float64Array(rows.length * width);
        for (const [n, row] of rows.entries()) x.set(points.subarray(row * width, (row + 1) * width), n * width);
        const { probabilities } = await adapter.step(fromFloat64(x, [rows.length, width]));
        const adapted = toFloat64(probabilities);
        for (const [n, row] of rows.entries()) {
          const label = Math.floor(row / perClass);
          const best = (scores: (c: number) => number) =>
            Array.from({ length: classes }, (_, c) => c).reduce((a, c) => (scores(c) > scores(a) ? c : a), 0);
          const plain = best((c) => {
            let score = 0;
            for (let d = 0; d < width; d++) score -= (x[n * width + d] - means[c * width + d]) ** 2;
            return score;
          });
          gains[stream] += Number(best((c) => adapted[n * classes + c]) === label) - Number(plain === label);
        }
      }
    }
  }
  const points = (count: number) => (100 * count) / (3 * classes * perClass);
  expect(points(gains.sorted)).toBeGreaterThanOrEqual(10);
  expect(points(gains.shuffled)).toBeGreaterThanOrEqual(-4);
});

test("a reset adapter and a saved state start over; nothing is kept between batches", async () => {
  const model = { classify: async (x: Tensor) => ({ logits: x, features: x }) };
  const adapter = await adapt(lame, model);
  const x = tensor([
    [1, 0.2],
    [0.1, 0.9],
  ]);
  const first = await adapter.step(x);
  expect(await adapter.step(x)).toEqual(first);
  adapter.reset();
  expect(await adapter.step(x)).toEqual(first);
  expect(adapter.state).toEqual({});
});

describe("bad input", () => {
  const refused: [string, () => unknown, string][] = [
    ["rbf with one neighbour", () => correctPredictions(q, f, { affinity: "rbf", k: 1 }), "INVALID_OPTION"],
    ["a negative weight", () => correctPredictions(q, f, { lambda: -1 }), "INVALID_OPTION"],
    ["an unknown affinity", () => correctPredictions(q, f, { affinity: "cosine" as "rbf" }), "INVALID_OPTION"],
    ["half a neighbour", () => correctPredictions(q, f, { k: 1.5 }), "INVALID_OPTION"],
    ["features of other samples", () => correctPredictions(q, batch(1, 4, 2, 2).f), "SHAPE_MISMATCH"],
    ["features that are no matrix", () => correctPredictions(q, tensor([1, 2, 3])), "SHAPE_MISMATCH"],
    [
      "NaN",
      () => correctPredictions(fromFloat64(Float64Array.of(Number.NaN, 1), [1, 2]), batch(1, 1, 2, 2).f),
      "INVALID_OPERAND",
    ],
  ];
  for (const [what, run, code] of refused) {
    test(what, () => {
      expect(run).toThrow(expect.objectContaining({ code }));
    });
  }
  test("a classifier without features", async () => {
    const adapter = await adapt(lame, { classify: async (x: Tensor) => ({ logits: x }) });
    await expect(adapter.step(q)).rejects.toMatchObject({ code: "MISSING_FEATURES" });
  });
});
