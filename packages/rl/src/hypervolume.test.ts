import { createRandom } from "@loomweight/tensor";
import { expect, test } from "vitest";
import { hypervolume, paretoFront } from "./hypervolume.ts";

const draw = (seed: number, count: number, size: number): number[][] => {
  const random = createRandom(seed, "hypervolume");
  return Array.from({ length: count }, (_, i) => Array.from({ length: size }, (_, k) => random.uniform(i * size + k)));
};
const zeros = (size: number) => Array.from({ length: size }, () => 0);

test("the card's worked examples", () => {
  const two = [
    [0.6, 0.3],
    [0.4, 0.5],
  ];
  expect(hypervolume(two, [0, 0])).toBeCloseTo(0.26, 12);
  expect(hypervolume([...two, [0.5, 0.45]], [0, 0])).toBeCloseTo(0.275, 12);
  const three = [
    [1, 2, 3],
    [2, 1, 3],
    [3, 3, 1],
  ];
  expect(hypervolume(three, [0, 0, 0])).toBe(15);
  const maximize = [true, false, true];
  const reference = [0.6, 500, 0.1];
  expect(hypervolume([[0.62, 450, 0.3]], reference, maximize)).toBeCloseTo(0.2, 12);
  const grown = [
    [0.62, 450, 0.3],
    [0.65, 470, 0.35],
  ];
  expect(hypervolume(grown, reference, maximize)).toBeCloseTo(0.455, 12);
  expect(hypervolume([[0.65, 450, 0.05]], reference, maximize)).toBe(0);
});

/** Σ over non-empty sets of (−1)^(size + 1) Π min: the volume of a union of boxes at the origin. */
function inclusionExclusion(points: readonly (readonly number[])[]): number {
  let sum = 0;
  for (let set = 1; set < 2 ** points.length; set++) {
    const chosen = points.filter((_, i) => (set >> i) & 1);
    const common = chosen[0].map((_, k) => Math.min(...chosen.map((point) => point[k])));
    sum += (chosen.length % 2 === 1 ? 1 : -1) * common.reduce((product, value) => product * value, 1);
  }
  return sum;
}

test("equals the volume of the union of boxes, in one to four dimensions", () => {
  for (const size of [1, 2, 3, 4]) {
    for (const seed of [1, 2, 3]) {
      const points = draw(seed, 8, size);
      expect(hypervolume(points, zeros(size))).toBeCloseTo(inclusionExclusion(points), 12);
    }
  }
});

test("laws: monotone, permutations, translation, scale, dominated points, Pareto front", () => {
  for (const size of [2, 3, 4]) {
    const points = draw(size, 7, size);
    const whole = hypervolume(points, zeros(size));
    expect(hypervolume(points.slice(1), zeros(size))).toBeLessThanOrEqual(whole + 1e-12);
    expect(hypervolume([...points].reverse(), zeros(size))).toBeCloseTo(whole, 12);
    const turned = points.map((point) => [...point].reverse());
    expect(hypervolume(turned, zeros(size))).toBeCloseTo(whole, 12);
    const moved = points.map((point) => point.map((value, k) => value + k - 3));
    expect(
      hypervolume(
        moved,
        zeros(size).map((_, k) => k - 3),
      ),
    ).toBeCloseTo(whole, 12);
    const scaled = points.map(([first, ...rest]) => [4 * first, ...rest]);
    expect(hypervolume(scaled, zeros(size))).toBeCloseTo(4 * whole, 11);
    const dominated = points[0].map((value) => value / 2);
    expect(hypervolume([...points, dominated], zeros(size))).toBeCloseTo(whole, 12);
    expect(hypervolume(paretoFront(points), zeros(size))).toBeCloseTo(whole, 12);
    expect(paretoFront([points[0], points[0]])).toHaveLength(1);
  }
});

test("refuses points of another size and metrics that are not finite", () => {
  expect(() => hypervolume([[1]], [0, 0])).toThrow(/point 0 has 1 coordinates/);
  expect(() => hypervolume([[1, Number.NaN]], [0, 0])).toThrow(/point 0 holds NaN/);
  expect(() => hypervolume([], [0, 0], [true])).toThrow(/maximize has 1/);
  expect(hypervolume([], [0, 0])).toBe(0);
});
