import { expect, test } from "vitest";
import { daubechies, reachOf } from "./wavelet.ts";

test("Daubechies' filters of one and two moments in closed form", () => {
  const haar = Math.SQRT1_2;
  expect(daubechies(1).low).toEqual([expect.closeTo(haar, 15), expect.closeTo(haar, 15)]);
  const r = Math.sqrt(3);
  const closed = [1 + r, 3 + r, 3 - r, 1 - r].map((value) => value / (4 * Math.SQRT2));
  const { low, high } = daubechies(2);
  closed.forEach((value, k) => {
    expect(low[k]).toBeCloseTo(value, 14);
    expect(high[k]).toBeCloseTo((k % 2 === 0 ? 1 : -1) * closed[3 - k], 14);
  });
});

test.for([1, 2, 3, 5, 8, 10])(
  "filters with %i moments are orthonormal to their shifts and to each other",
  (moments) => {
    const { low, high } = daubechies(moments);
    expect(low.length).toBe(2 * moments);
    for (let shift = 0; shift < 2 * moments; shift += 2) {
      const product = (a: readonly number[], b: readonly number[]) =>
        a.reduce((sum, value, k) => sum + value * (b[k + shift] ?? 0), 0);
      expect(product(low, low)).toBeCloseTo(shift === 0 ? 1 : 0, 12);
      expect(product(high, high)).toBeCloseTo(shift === 0 ? 1 : 0, 12);
      expect(product(low, high)).toBeCloseTo(0, 12);
    }
    // The moments of the high filter vanish.
    for (let power = 0; power < Math.min(moments, 4); power++) {
      expect(high.reduce((sum, value, k) => sum + value * (k / moments) ** power, 0)).toBeCloseTo(0, 9);
    }
  },
);

test("two taps put each coefficient where it belongs", () => {
  expect([0, 1, 2, 3].map((index) => reachOf(index, 4, 2))).toEqual([
    { from: 0, half: "first" },
    { from: 2, half: "first" },
    { from: 0, half: "second" },
    { from: 2, half: "second" },
  ]);
});
