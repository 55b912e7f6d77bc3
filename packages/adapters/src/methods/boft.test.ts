import { expect, test } from "vitest";
import { adapterContract, expectNumbers, float64, foldRows, numbers } from "../../test/contract.ts";
import { layerOf } from "../layer.ts";
import { boft } from "./boft.ts";

adapterContract(boft, [
  { what: "linear [6, 8]", kind: "linear", storedShape: [6, 8], options: { blockSize: 4, blocks: 0 } },
  { what: "by number of blocks", kind: "linear", storedShape: [5, 9], options: { blockSize: 0, blocks: 3 } },
  {
    what: "convolution [6, 3, 3, 2]",
    kind: "convolution",
    storedShape: [6, 3, 3, 2],
    options: { blockSize: 9, blocks: 0 },
  },
]);

test("worked example of the page", () => {
  const params = { turn: float64([0, 2, 0, 0], [1, 2, 2]), scale: float64([2], [1]) };
  expectNumbers(foldRows(boft, [[1, 2]], params, { blockSize: 2, blocks: 0 }), [-4, 2]);
});

test("only the skew part of the blocks counts", () => {
  const rows = [[...numbers("row", [4]).data]];
  const scale = float64([1], [1]);
  const turn = numbers("turn", [1, 4, 4]);
  const symmetric = float64(
    [...turn.data].map((value, i) => value + 3 * ((i % 4) + Math.floor(i / 4))),
    [1, 4, 4],
  );
  const options = { blockSize: 4, blocks: 0 };
  expectNumbers(
    foldRows(boft, rows, { turn, scale }, options),
    foldRows(boft, rows, { turn: symmetric, scale }, options),
  );
});

test("sizes that do not divide, or both or neither of them, are refused", () => {
  const layer = layerOf("linear", [4, 8]);
  expect(() => boft.params(layer, { blockSize: 3, blocks: 0 })).toThrow(/divisor of 8/);
  expect(() => boft.params(layer, { blockSize: 4, blocks: 2 })).toThrow(/divisor of 8/);
  expect(() => boft.params(layer, { blockSize: 0, blocks: 0 })).toThrow(/divisor of 8/);
});
