import { expect, test } from "vitest";
import { chooseWithoutReplacement, numpyGenerator, shuffleInto } from "./numpy-random.ts";

// Recorded from numpy 2: default_rng(seed).
test("32 bits at a time are those of integers(0, 2**32, dtype=uint32)", () => {
  const { next32 } = numpyGenerator(42);
  expect(Array.from({ length: 6 }, next32)).toEqual([
    383329928, 3324115917, 2811363265, 1884968545, 1859786276, 3687649986,
  ]);
});

test("bounded numbers are those of integers(0, 5, dtype=uint32)", () => {
  const generator = numpyGenerator(0);
  expect(Array.from({ length: 5 }, () => generator.upTo(4))).toEqual([4, 3, 2, 1, 1]);
});

test("choice without replacement: a few of a few, and many of a large number", () => {
  expect([...chooseWithoutReplacement(numpyGenerator(42), 40, 17)]).toEqual([
    27, 26, 2, 19, 34, 3, 6, 11, 24, 30, 33, 20, 12, 21, 29, 28, 17,
  ]);
  const many = chooseWithoutReplacement(numpyGenerator(7), 20_000, 5000);
  expect([...many.slice(0, 5)]).toEqual([12177, 3123, 9514, 5150, 15765]);
});

test("shuffle", () => {
  const values = Int32Array.from({ length: 10 }, (_, i) => i);
  shuffleInto(values, numpyGenerator(7));
  expect([...values]).toEqual([8, 0, 7, 1, 3, 6, 2, 4, 5, 9]);
});
