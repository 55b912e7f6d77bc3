import { createRandom, fromFloat64, type Tensor, tensor, toFloat64 } from "@loomweight/tensor";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { combineLowRank, type LowRankUpdate, loraLego } from "../index.ts";

const wide = (values: number[][]) => tensor(values, undefined, "float64");
const first: LowRankUpdate = {
  a: wide([
    [2, 0, 0],
    [0, 0, 1],
  ]),
  b: wide([
    [1, 0],
    [0, 3],
  ]),
  scaling: 1,
};
const second: LowRankUpdate = {
  a: wide([
    [0, 0.5, 2.5],
    [1, 1.5, 0],
  ]),
  b: wide([
    [1, 0.5],
    [2, 1],
  ]),
  scaling: 1,
};

/** scaling · B A, row-major. */
function deltaOf({ a, b, scaling }: LowRankUpdate): Float64Array {
  const [rank, columns] = a.shape;
  const [left, right] = [toFloat64(a), toFloat64(b)];
  const out = new Float64Array(b.shape[0] * columns);
  for (let i = 0; i < out.length; i++) {
    const [row, column] = [Math.floor(i / columns), i % columns];
    for (let k = 0; k < rank; k++) out[i] += scaling * right[row * rank + k] * left[k * columns + column];
  }
  return out;
}

function expectNear(found: ArrayLike<number>, expected: ArrayLike<number>, within = 1e-9): void {
  expect(found.length).toBe(expected.length);
  for (let i = 0; i < expected.length; i++) {
    expect(Math.abs(found[i] - expected[i]), `[${i}]`).toBeLessThanOrEqual(within);
  }
}

describe("worked example", () => {
  const delta = (options: Parameters<typeof loraLego>[1], updates = [first, second]) =>
    deltaOf(loraLego(updates, options));
  test("two clusters, with and without reweighting", () => {
    const found = loraLego([first, second], { rank: 2 });
    expect([...found.labels]).toEqual([0, 1, 1, 0]);
    expect(found.sizes).toEqual([2, 2]);
    expect(found.inertia).toBeCloseTo(4.5, 12);
    expectNear(found.factors, [1.16667, 1.1], 1e-5);
    expectNear(toFloat64(found.a), [1.75, 0.875, 0, 0, 0.275, 1.925], 1e-9);
    expectNear(toFloat64(found.b), [0.875, 0.55, 0.583333, 2.75], 1e-6);
    expectNear(deltaOf(found), [1.53125, 0.916875, 1.05875, 1.02083, 1.26667, 5.29375], 1e-5);
    const bare = { parameterReweight: false, outputReweight: false };
    expectNear(delta({ rank: 2, ...bare }), [1.125, 0.6875, 0.875, 0.75, 1, 4.375], 1e-9);
    expectNear(delta({ rank: 2, norm: "l2" }), [1.47312, 0.875998, 0.976082, 0.982078, 1.18824, 4.88041], 1e-5);
  });
  test("one cluster, and as many as units", () => {
    expectNear(delta({ rank: 1 }), [1.49155, 0.994369, 1.74015, 3.57973, 2.38649, 4.17635], 1e-5);
    const sum = [2.5, 1.25, 2.5, 1, 2.5, 8];
    expectNear(
      delta({ rank: 4 }),
      sum.map((value) => value * Math.sqrt(2 / 4)),
    );
  });
  test("scaling belongs to the factors: twice the scaling is twice the update", () => {
    const doubled = [first, second].map((each) => ({ ...each, scaling: 2 }));
    expectNear(delta({ rank: 2 }, doubled), [3.0625, 1.83375, 2.1175, 2.04167, 2.53333, 10.5875], 1e-5);
  });
});

function randomUpdate(seed: number, rank: number, [out, columns] = [5, 4]): LowRankUpdate {
  const random = createRandom(seed, "update");
  const draw = (name: string, shape: number[]) => {
    const values = new Float64Array(shape[0] * shape[1]);
    random.child(name).normalsInto(values);
    return fromFloat64(values, shape);
  };
  return { a: draw("a", [rank, columns]), b: draw("b", [out, rank]), scaling: 0.5 + (seed % 3) };
}

/** The same update with its units in another order. */
function permuted({ a, b, scaling }: LowRankUpdate): LowRankUpdate {
  const [rank, columns] = a.shape;
  const [left, right] = [toFloat64(a), toFloat64(b)];
  const order = Array.from({ length: rank }, (_, i) => rank - 1 - i);
  return {
    a: fromFloat64(
      Float64Array.from(order.flatMap((j) => [...left.subarray(j * columns, (j + 1) * columns)])),
      a.shape,
    ),
    b: fromFloat64(
      right.map((_, i) => right[Math.floor(i / rank) * rank + order[i % rank]]),
      b.shape,
    ),
    scaling,
  };
}

const anyAdapters = fc.array(
  fc.record({ seed: fc.integer({ min: 1, max: 1e6 }), rank: fc.integer({ min: 1, max: 4 }) }),
  {
    minLength: 1,
    maxLength: 4,
  },
);

describe("laws", () => {
  test("the order of adapters and of their units does not matter; clusters are a partition without gaps", () => {
    fc.assert(
      fc.property(anyAdapters, fc.double({ min: 0, max: 1, noNaN: true }), (given, share) => {
        const updates = given.map(({ seed, rank }) => randomUpdate(seed, rank));
        const units = given.reduce((sum, { rank }) => sum + rank, 0);
        const rank = 1 + Math.floor(share * (units - 1));
        const found = loraLego(updates, { rank });
        expectNear(deltaOf(loraLego(updates.map(permuted), { rank })), deltaOf(found));
        expectNear(deltaOf(loraLego([...updates].reverse(), { rank })), deltaOf(found));
        expect(found.a.shape).toEqual([rank, 4]);
        expect(found.sizes.every((size) => size > 0)).toBe(true);
        expect(found.sizes.reduce((a, b) => a + b, 0)).toBe(units);
        expect(new Set(found.labels).size).toBe(rank);
        expect(found.factors.every((factor) => factor >= 1 - 1e-12)).toBe(true);
      }),
      { seed: 1, numRuns: 40 },
    );
  });

  test("as many clusters as units are the sum of the updates, times √(r / k) with the output's weight", () => {
    const updates = [randomUpdate(1, 2), randomUpdate(2, 4), randomUpdate(3, 3)];
    const sum = new Float64Array(20);
    for (const update of updates) for (const [i, value] of deltaOf(update).entries()) sum[i] += value;
    const bare = { rank: 9, parameterReweight: false, outputReweight: false };
    expectNear(deltaOf(loraLego(updates, bare)), sum);
    const weighed = deltaOf(loraLego(updates, { rank: 9 }));
    expectNear(
      weighed,
      sum.map((value) => value * Math.sqrt(3 / 9)),
    );
    expectNear(deltaOf(loraLego([updates[1]], { rank: 4 })), deltaOf(updates[1]));
  });

  test("an adapter three times is that adapter; balanced halves leave an update as it is", () => {
    const update = randomUpdate(7, 3);
    const thrice = loraLego([update, update, update], { rank: 3, restarts: 30 });
    expect(thrice.sizes).toEqual([3, 3, 3]);
    expectNear(deltaOf(thrice), deltaOf(update));
    expectNear(deltaOf(loraLego([update], { rank: 3, balance: true })), deltaOf(update));
    // More clusters than different units: none is left empty.
    expect(loraLego([update, update], { rank: 5 }).sizes.every((size) => size > 0)).toBe(true);
  });

  test("more clusters are never farther from their units, and a negative scaling keeps its sign", () => {
    const updates = [randomUpdate(11, 4), randomUpdate(12, 4)];
    let before = Number.POSITIVE_INFINITY;
    for (let rank = 1; rank <= 8; rank++) {
      const { inertia } = loraLego(updates, { rank, restarts: 50 });
      expect(inertia).toBeLessThanOrEqual(before + 1e-12);
      before = inertia;
    }
    const negative = { ...updates[0], scaling: -2 };
    expectNear(deltaOf(loraLego([negative], { rank: 4 })), deltaOf(negative));
  });
});

test("combineLowRank takes it by name; a layer with fewer units than the rank keeps them all", () => {
  const updates = [randomUpdate(21, 3), randomUpdate(22, 2)];
  const combined = combineLowRank(updates, [1, 1], { combination: "lego", rank: 2, seed: 4, norm: "l2" });
  const { a, b } = loraLego(updates, { rank: 2, seed: 4, norm: "l2" });
  expect(combined).toEqual({ a, b, scaling: 1 } satisfies { a: Tensor; b: Tensor; scaling: number });
  expect(combineLowRank(updates, [1, 1], { combination: "lego", rank: 9 }).a.shape).toEqual([5, 4]);
  expect(combineLowRank(updates, [1, 1], { combination: "lego" }).a.shape).toEqual([3, 4]);
});

test("bad options are refused by name", () => {
  const refused = (options: object, updates = [first, second]) =>
    expect(() => loraLego(updates, options as { rank: number })).toThrow(
      expect.objectContaining({ code: "INVALID_OPTION" }),
    );
  expect(() => loraLego([first, second], {} as { rank: number })).toThrow(
    expect.objectContaining({ code: "MISSING_OPTION" }),
  );
  refused({ rank: 0 });
  refused({ rank: 5 });
  refused({ rank: 2, norm: "l1" });
  refused({ rank: 2, weights: [1] });
  refused({ rank: 2, weights: [1, -1] });
  refused({ rank: 1 }, []);
  expect(() => loraLego([first, randomUpdate(1, 2)], { rank: 1 })).toThrow(
    expect.objectContaining({ code: "SHAPE_MISMATCH" }),
  );
  const broken = {
    ...first,
    a: wide([
      [Number.NaN, 0, 0],
      [0, 0, 1],
    ]),
  };
  for (const rank of [1, 4]) {
    expect(() => loraLego([broken, second], { rank })).toThrow(expect.objectContaining({ code: "NOT_FINITE" }));
  }
});
