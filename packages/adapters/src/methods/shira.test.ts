import { fromData } from "@loomweight/tensor";
import { expect, test } from "vitest";
import { adapterContract, expectNumbers, float64, foldRows, testRandom } from "../../test/contract.ts";
import { layerOf } from "../layer.ts";
import { shira } from "./shira.ts";

const places = (rows: readonly number[], columns: readonly number[]) =>
  fromData("int64", BigInt64Array.from([...rows, ...columns], BigInt), [2, rows.length]);
adapterContract(shira, [
  {
    what: "linear [6, 4]",
    kind: "linear",
    storedShape: [6, 4],
    options: { rank: 1, seed: 3 },
    params: () => ({ places: places([0, 0, 1, 2, 2, 3, 4, 5, 5, 5], [0, 3, 1, 0, 2, 3, 1, 0, 1, 2]) }),
  },
]);

test("worked example of the page", () => {
  const w = [
    [1, 2],
    [3, 4],
  ];
  const params = { values: float64([0.5, -1], [2]), places: places([0, 1], [1, 0]) };
  expectNumbers(foldRows(shira, w, params, { rank: 1, seed: -1 }), [1, 2.5, 2, 4]);
});

test("fresh places are those of PyTorch's permutation, none twice", () => {
  const layer = layerOf("linear", [32, 32]);
  const made = shira.init(layer, { rank: 2, seed: 777 }, { random: testRandom() });
  const at = Array.from(made.places.data as BigInt64Array, Number);
  // torch.randperm(1024, generator=torch.Generator().manual_seed(777))[:4]
  expect([0, 1, 2, 3].map((i) => at[i] * 32 + at[128 + i])).toEqual([103, 249, 319, 701]);
  expect(new Set(Array.from({ length: 128 }, (_, i) => at[i] * 32 + at[128 + i])).size).toBe(128);
});

test("more entries than the layer has are refused", () => {
  expect(() => shira.params(layerOf("linear", [4, 4]), { rank: 3, seed: -1 })).toThrow(/at most 2/);
});
