import { expect, test } from "vitest";
import {
  adapterContract,
  expectNumbers,
  float64,
  layerValues,
  numbers,
  plainNumbers,
  testRandom,
} from "../../test/contract.ts";
import { layerOf } from "../layer.ts";
import { osf } from "./osf.ts";

adapterContract(osf, [
  { what: "linear [6, 4], half kept", kind: "linear", storedShape: [6, 4], options: { kept: 0.5 } },
  { what: "linear [4, 7], one kept", kind: "linear", storedShape: [4, 7], options: { kept: 1 } },
]);

test("worked example of the page: the large direction stays", async () => {
  const layer = layerOf("linear", [2, 2]);
  const weight = float64([5, 0, 0, 1], [2, 2]);
  const params = { left: float64([1, 0], [2, 1]), values: float64([2], [1]), right: float64([0, 3], [1, 2]) };
  const context = { path: "a", layers: new Map(), layersInOrder: () => new Map(), weight: async () => weight };
  const made = await osf.prepare?.(layer, params as never, { kept: 1 }, context);
  const all = { ...params, low: made?.low } as never;
  expectNumbers(plainNumbers(osf.weight?.(layerValues(layer, weight, undefined), all, { kept: 1 }, {})), [5, 6, 0, 0]);
});

test.for([
  [{ kept: 0.5 }, 8],
  [{ kept: 10 }, 6],
  [{ kept: 0.9 }, 2],
] as const)("%j of 16 directions leaves %i", ([options, count]) => {
  expect(osf.params(layerOf("linear", [16, 20]), options).values).toEqual([count]);
});

test("the file's shapes count, and a fresh adapter needs the weight and something to train", () => {
  const layer = layerOf("linear", [16, 20]);
  expect(osf.params(layer, { kept: 0.5 }, new Map([["values", [3]]])).values).toEqual([3]);
  expect(() => osf.params(layer, { kept: 16 })).toThrow(/no singular direction/);
  expect(() => osf.init(layer, { kept: 1 }, { random: testRandom() })).toThrow(/not given/);
  expect(osf.init(layer, { kept: 15 }, { random: testRandom(), weight: numbers("w", [16, 20]) }).left.shape).toEqual([
    16, 1,
  ]);
});
