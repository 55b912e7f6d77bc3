import { expect, test } from "vitest";
import { adapterContract, expectNumbers, float64, foldRows, numbers } from "../../test/contract.ts";
import { layerOf } from "../layer.ts";
import { oft } from "./oft.ts";

const plain = {
  blockSize: 4,
  blocks: 0,
  shared: false,
  series: true,
  terms: 5,
  constrained: false,
  epsilon: 6e-5,
};
adapterContract(oft, [
  { what: "linear [6, 8]", kind: "linear", storedShape: [6, 8], options: plain },
  {
    what: "exact, by number of blocks",
    kind: "linear",
    storedShape: [5, 9],
    options: { ...plain, blockSize: 0, blocks: 3, series: false },
  },
  { what: "one block for all", kind: "linear", storedShape: [6, 8], options: { ...plain, shared: true, terms: 8 } },
  { what: "embedding [11, 8]", kind: "embedding", storedShape: [11, 8], options: plain },
  {
    what: "convolution [6, 3, 3, 2]",
    kind: "convolution",
    storedShape: [6, 3, 3, 2],
    options: { ...plain, blockSize: 9 },
  },
]);
adapterContract(
  oft,
  [
    {
      what: "constrained",
      kind: "linear",
      storedShape: [6, 8],
      options: { ...plain, constrained: true, epsilon: 0.5 },
    },
  ],
  {
    "attached, its gradients are those of central differences":
      "gradients pass straight through the constraint, as where PEFT rewrites the parameter",
  },
);

test("worked example of the page", () => {
  expectNumbers(
    foldRows(oft, [[1, 2]], { upper: float64([0.5], [1, 1]) }, { ...plain, blockSize: 2 }),
    [2.0625, 0.375],
  );
  expectNumbers(
    foldRows(oft, [[1, 2]], { upper: float64([1], [1, 1]) }, { ...plain, blockSize: 2, series: false }),
    [-2, 1],
  );
});

test("an exact turn keeps the length of every row", () => {
  const rows = [[...numbers("row", [8]).data]];
  const turned = foldRows(oft, rows, { upper: numbers("q", [2, 6], 2) }, { ...plain, series: false });
  const length = (row: readonly number[]) => Math.hypot(...row);
  expect(length(turned)).toBeCloseTo(length(rows[0]), 12);
});

test("constrained blocks of ‖Q‖ within the bound are left alone, larger ones scaled to it", () => {
  const options = { ...plain, blockSize: 2, series: false, constrained: true, epsilon: 0.2 };
  const small = { upper: float64([0.1], [1, 1]) };
  expectNumbers(
    foldRows(oft, [[1, 2]], small, options),
    foldRows(oft, [[1, 2]], small, { ...options, constrained: false }),
  );
  // ‖Q‖ = √2 |q|, so q becomes 0.2 / √2.
  const bounded = { upper: float64([0.2 / Math.SQRT2], [1, 1]) };
  expectNumbers(
    foldRows(oft, [[1, 2]], { upper: float64([5], [1, 1]) }, options),
    foldRows(oft, [[1, 2]], bounded, { ...options, constrained: false }),
  );
});

test.for([
  [32, 48, 24],
  [32, 40, 40],
  [5, 8, 4],
  [9, 8, 8],
] as const)("blocks of %i on a width of %i have the size %i", ([blockSize, width, size]) => {
  const { upper } = oft.params(layerOf("linear", [4, width]), { ...plain, blockSize });
  expect(upper).toEqual([width / size, (size * (size - 1)) / 2]);
});

test("a number of blocks that does not divide the layer is refused", () => {
  expect(() => oft.params(layerOf("linear", [4, 8]), { ...plain, blockSize: 0, blocks: 3 })).toThrow(/divisor of 8/);
});
