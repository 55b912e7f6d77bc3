import { expect, test } from "vitest";
import { adapterContract, expectNumbers, float64, foldRows, numbers, testRandom } from "../../test/contract.ts";
import { layerOf } from "../layer.ts";
import { hra } from "./hra.ts";

adapterContract(hra, [
  { what: "linear [6, 8]", kind: "linear", storedShape: [6, 8], options: { rank: 4, orthogonal: false } },
  {
    what: "convolution [6, 3, 3, 2]",
    kind: "convolution",
    storedShape: [6, 3, 3, 2],
    options: { rank: 2, orthogonal: false },
  },
]);
adapterContract(hra, [
  { what: "orthogonal", kind: "linear", storedShape: [6, 8], options: { rank: 3, orthogonal: true } },
]);

test("worked example of the page", () => {
  const directions = float64([3, 4], [2, 1]);
  expectNumbers(foldRows(hra, [[1, 2]], { directions }, { rank: 1, orthogonal: false }), [-1.64, -1.52]);
});

test("the length of every row is kept, and one reflection is the same with and without orthogonality", () => {
  const rows = [[...numbers("row", [6]).data]];
  const directions = numbers("u", [6, 3]);
  for (const orthogonal of [false, true]) {
    const folded = foldRows(hra, rows, { directions }, { rank: 3, orthogonal });
    expect(Math.hypot(...folded)).toBeCloseTo(Math.hypot(...rows[0]), 12);
  }
  const one = { directions: numbers("u", [6, 1]) };
  expectNumbers(
    foldRows(hra, rows, one, { rank: 1, orthogonal: false }),
    foldRows(hra, rows, one, { rank: 1, orthogonal: true }),
  );
});

test("fresh adapters that could not start as the identity are refused", () => {
  const layer = layerOf("linear", [4, 6]);
  expect(() => hra.init(layer, { rank: 3, orthogonal: false }, { random: testRandom() })).toThrow(/even/);
  expect(() => hra.init(layer, { rank: 2, orthogonal: true }, { random: testRandom() })).toThrow(/identity/);
});
