import { expect, test } from "vitest";
import { advance, candidates, type NormalNumbers, type SearchState, startSearch } from "./cma-es.ts";

/** Box–Muller over mulberry32: enough for tests, and independent of the product's generator. */
const normal: NormalNumbers = (seed, name, count) => {
  let state = seed >>> 0;
  for (const character of name) state = Math.imul(state ^ character.charCodeAt(0), 0x01000193) >>> 0;
  const uniform = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return (((mixed ^ (mixed >>> 14)) >>> 0) + 0.5) / 2 ** 32;
  };
  return Array.from({ length: count }, () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform()));
};

function minimise(score: (point: readonly number[]) => number, state: SearchState, generations: number): SearchState {
  let now = state;
  for (let g = 0; g < generations; g++) {
    const points = candidates(now, normal);
    now = advance(now, points, points.map(score));
  }
  return now;
}

const ellipsoid = (x: readonly number[]) =>
  x.reduce((sum, value, i) => sum + 10 ** ((4 * i) / (x.length - 1)) * (value - 1) ** 2, 0);
const rosenbrock = (x: readonly number[]) =>
  x.slice(1).reduce((sum, value, i) => sum + 100 * (value - x[i] ** 2) ** 2 + (1 - x[i]) ** 2, 0);

test("finds the minimum of an ellipsoid whose axes differ by a hundred", () => {
  const found = minimise(ellipsoid, startSearch({ start: [0, 0, 0, 0, 0], seed: 1 }), 300);
  expect(found.best!.score).toBeLessThan(1e-10);
});

test("follows the bent valley of Rosenbrock's function", () => {
  const found = minimise(rosenbrock, startSearch({ start: [-1, 0.5, 0, 0.2], seed: 2 }), 500);
  expect(found.best!.score).toBeLessThan(1e-8);
});

test("works in one dimension", () => {
  const found = minimise(([x]) => (x - 3) ** 2, startSearch({ start: [0], seed: 3 }), 60);
  expect(found.best!.point[0]).toBeCloseTo(3, 6);
});

test("continues from its JSON exactly as it would have gone on", () => {
  const half = minimise(rosenbrock, startSearch({ start: [0, 0], seed: 4 }), 20);
  const restored = JSON.parse(JSON.stringify(half)) as SearchState;
  expect(minimise(rosenbrock, restored, 20)).toEqual(minimise(rosenbrock, half, 20));
});

test("scores that are not finite lose, and never become the best", () => {
  const score = ([x, y]: readonly number[]) => (x < 0 ? Number.NaN : (x - 1) ** 2 + y * y);
  const found = minimise(score, startSearch({ start: [-0.1, 0], seed: 5 }), 80);
  expect(found.best!.score).toBeLessThan(1e-8);
});

test.each([
  ["no coordinates", { start: [] }],
  ["a step of zero", { start: [0], sigma: 0 }],
  ["a NaN start", { start: [Number.NaN] }],
  ["a population of two", { start: [0], population: 2 }],
])("%s is refused", (_, options) => {
  expect(() => startSearch(options)).toThrow(/option search\./);
});
