import { expect, test } from "vitest";
import { adapterContract, expectNumbers, float64, foldRows, numbers, testRandom } from "../../test/contract.ts";
import { layerOf } from "../layer.ts";
import { deft } from "./deft.ts";

const plain = { rank: 2, decomposition: "relu", alpha: 0, removeOnly: false };
adapterContract(deft, [
  { what: "relu on linear [6, 4]", kind: "linear", storedShape: [6, 4], options: plain },
  { what: "qr with alpha", kind: "linear", storedShape: [6, 4], options: { ...plain, decomposition: "qr", alpha: 3 } },
  { what: "GPT-2's Conv1D [4, 9]", kind: "transposedLinear", storedShape: [4, 9], options: plain },
  {
    what: "a rank above the outputs",
    kind: "linear",
    storedShape: [2, 5],
    options: { ...plain, rank: 4, decomposition: "qr" },
  },
]);
adapterContract(deft, [
  {
    what: "removal only",
    kind: "linear",
    storedShape: [6, 4],
    options: { ...plain, decomposition: "qr", removeOnly: true },
  },
]);

const w = [
  [1, 2],
  [3, 4],
];
test("worked example of the page", () => {
  const params = { directions: float64([1, -1], [2, 1]), replacement: float64([5, 6], [1, 2]) };
  expectNumbers(foldRows(deft, w, params, { ...plain, rank: 1 }), [5, 6, -1, 0]);
  // The basis is (-1, 1) / √2 with LAPACK's signs.
  const [a, b] = [2 / Math.SQRT2, 2 / Math.SQRT2];
  const [x, y] = [5 - a, 6 - b];
  expectNumbers(foldRows(deft, w, params, { ...plain, rank: 1, decomposition: "qr" }), [
    1 - x / Math.SQRT2,
    2 - y / Math.SQRT2,
    3 + x / Math.SQRT2,
    4 + y / Math.SQRT2,
  ]);
});

test("removed directions are gone from the outputs", () => {
  const directions = numbers("p", [2, 1]);
  const folded = foldRows(deft, w, { directions }, { ...plain, rank: 1, decomposition: "qr", removeOnly: true });
  expect(directions.data[0] * folded[0] + directions.data[1] * folded[2]).toBeCloseTo(0, 13);
  expect(directions.data[0] * folded[1] + directions.data[1] * folded[3]).toBeCloseTo(0, 13);
});

test("fresh adapters need the weight, and removal is refused", () => {
  const layer = layerOf("linear", [4, 6]);
  const given = { ...plain, decomposition: "relu" } as const;
  expect(() => deft.init(layer, given, { random: testRandom() })).toThrow(/not given/);
  expect(() => deft.init(layer, { ...given, removeOnly: true }, { random: testRandom() })).toThrow(/identity/);
});
