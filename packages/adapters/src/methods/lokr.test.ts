import { expect, test } from "vitest";
import { adapterContract, expectNumbers, float64, foldRows } from "../../test/contract.ts";
import { layerOf } from "../layer.ts";
import { factorize, lokr } from "./lokr.ts";

const plain = { rank: 1, alpha: 3, decomposeFirst: false, factor: -1, tuckerKernels: false };
adapterContract(lokr, [
  { what: "linear [6, 12], both factors whole", kind: "linear", storedShape: [6, 12], options: { ...plain, rank: 8 } },
  { what: "linear [12, 6], second decomposed", kind: "linear", storedShape: [12, 6], options: plain },
  {
    what: "linear [24, 36], both decomposed",
    kind: "linear",
    storedShape: [24, 36],
    options: { ...plain, decomposeFirst: true },
  },
  { what: "linear with a factor of its own", kind: "linear", storedShape: [12, 8], options: { ...plain, factor: 2 } },
  { what: "convolution [8, 6, 3, 2]", kind: "convolution", storedShape: [8, 6, 3, 2], options: plain },
  {
    what: "convolution with a factored kernel",
    kind: "convolution",
    storedShape: [8, 6, 3, 2],
    options: { ...plain, tuckerKernels: true },
  },
  {
    what: "convolution with a whole second factor",
    kind: "convolution",
    storedShape: [8, 6, 3, 2],
    options: { ...plain, rank: 8 },
  },
  {
    what: "one-dimensional convolution with a whole second factor",
    kind: "convolution",
    storedShape: [4, 6, 3],
    options: { ...plain, rank: 8 },
  },
]);

test("worked example of the page", () => {
  const params = { first: float64([1, 2, 0, -1], [2, 2]), second: float64([1, 1, 0, 2], [2, 2]) };
  const zero = Array.from({ length: 4 }, () => [0, 0, 0, 0]);
  expectNumbers(
    foldRows(lokr, zero, params, { ...plain, alpha: 0.5 }),
    [0.5, 0.5, 1, 1, 0, 1, 0, 2, 0, 0, -0.5, -0.5, 0, 0, 0, -1],
  );
});

test.for([
  [256, -1, 16, 16],
  [128, -1, 8, 16],
  [127, -1, 1, 127],
  [12, -1, 3, 4],
  [128, 4, 4, 32],
  [8, 4, 4, 2],
  [12, 5, 3, 4],
  [1, -1, 1, 1],
] as const)("%i with factor %i is %i times %i", ([size, factor, m, n]) => {
  expect(factorize(size, factor)).toEqual([m, n]);
});

test("which tensors there are follows from the rank", () => {
  const names = (options: Partial<typeof plain>) =>
    Object.keys(lokr.params(layerOf("linear", [64, 64]), { ...plain, ...options }));
  expect(names({ rank: 4 })).toEqual(["first", "second"]);
  expect(names({ rank: 3 })).toEqual(["first", "secondA", "secondB"]);
  expect(names({ rank: 3, decomposeFirst: true })).toEqual(["firstA", "firstB", "secondA", "secondB"]);
});

test("a factor of 0 is refused", () => {
  expect(() => lokr.params(layerOf("linear", [6, 4]), { ...plain, factor: 0 })).toThrow(/lokr.factor/);
});
