import { expect, test } from "vitest";
import { adapterContract, expectNumbers, float64, foldRows, numbers } from "../../test/contract.ts";
import { layerOf } from "../layer.ts";
import { loha } from "./loha.ts";

const plain = { rank: 2, alpha: 3, tuckerKernels: false };
adapterContract(loha, [
  { what: "linear [6, 4]", kind: "linear", storedShape: [6, 4], options: plain },
  { what: "convolution [6, 3, 3, 2]", kind: "convolution", storedShape: [6, 3, 3, 2], options: plain },
  {
    what: "convolution with factored kernels",
    kind: "convolution",
    storedShape: [6, 3, 3, 2],
    options: { ...plain, tuckerKernels: true },
  },
  {
    what: "one-dimensional convolution with factored kernels",
    kind: "convolution",
    storedShape: [4, 3, 5],
    options: { ...plain, tuckerKernels: true },
  },
]);

test("worked example of the page", () => {
  const params = {
    firstA: float64([1, 2], [2, 1]),
    firstB: float64([1, -1], [1, 2]),
    secondA: float64([2, 1], [2, 1]),
    secondB: float64([0.5, 1], [1, 2]),
  };
  const zero = [
    [0, 0],
    [0, 0],
  ];
  expectNumbers(foldRows(loha, zero, params, { rank: 1, alpha: 2, tuckerKernels: false }), [2, -4, 2, -4]);
});

test("two factor pairs of rank 2 reach rank 4", () => {
  const shape = { A: [5, 2], B: [2, 5] };
  const params = {
    firstA: numbers("a", shape.A),
    firstB: numbers("b", shape.B),
    secondA: numbers("c", shape.A),
    secondB: numbers("d", shape.B),
  };
  const zero = Array.from({ length: 5 }, () => [0, 0, 0, 0, 0]);
  const update = foldRows(loha, zero, params, { rank: 2, alpha: 2, tuckerKernels: false });
  // Gaussian elimination with pivots.
  const m = Array.from({ length: 5 }, (_, i) => update.slice(i * 5, i * 5 + 5));
  let rank = 0;
  for (let column = 0; column < 5; column++) {
    const rest = m.slice(rank).map((row) => Math.abs(row[column]));
    const best = rank + rest.indexOf(Math.max(...rest));
    if (Math.max(...rest) < 1e-10) continue;
    [m[rank], m[best]] = [m[best], m[rank]];
    for (let i = rank + 1; i < 5; i++) {
      const factor = m[i][column] / m[rank][column];
      m[i] = m[i].map((value, j) => value - factor * m[rank][j]);
    }
    rank++;
  }
  expect(rank).toBe(4);
});

test("a kernel of one position has no core", () => {
  const names = Object.keys(loha.params(layerOf("convolution", [4, 3, 1, 1]), { ...plain, tuckerKernels: true }));
  expect(names).toEqual(["firstA", "firstB", "secondA", "secondB"]);
});
