import { test } from "vitest";
import { adapterContract, expectNumbers, float64, foldRows } from "../../test/contract.ts";
import { peanut } from "./peanut.ts";

const plain = { rank: 3, depth: 0, activation: "tanh", scaling: 0.5 };
adapterContract(peanut, [
  { what: "linear [6, 4]", kind: "linear", storedShape: [6, 4], options: plain },
  {
    what: "two pairs of inner layers",
    kind: "linear",
    storedShape: [5, 4],
    options: { ...plain, depth: 2, activation: "silu" },
  },
]);

test("worked example of the page", () => {
  const w = [
    [1, -2],
    [3, 4],
  ];
  const params = {
    A: float64([1, 1], [1, 2]), // h = relu([4, 2])
    encoder0: float64([-1], [1, 1]), // relu([-4, -2]) = 0
    decoder0: float64([5], [1, 1]), // 0, and the h before: [4, 2]
    B: float64([1, -1], [2, 1]),
  };
  const options = { rank: 1, depth: 1, activation: "relu", scaling: 0.5 };
  expectNumbers(foldRows(peanut, w, params, options), [3, -1, 1, 3]);
});
