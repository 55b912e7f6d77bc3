import { expect, test } from "vitest";
import { adapterContract, float64, layerValues, plainNumbers } from "../../test/contract.ts";
import { layerOf } from "../layer.ts";
import { fourierft } from "./fourierft.ts";

const plain = { frequencies: 7, scaling: 40, seed: 777 };
adapterContract(fourierft, [
  { what: "linear [6, 10]", kind: "linear", storedShape: [6, 10], options: plain },
  { what: "GPT-2's Conv1D [10, 9]", kind: "transposedLinear", storedShape: [10, 9], options: plain },
  { what: "every place of [3, 4]", kind: "linear", storedShape: [3, 4], options: { ...plain, frequencies: 12 } },
]);

test("worked example of the page", async () => {
  const layer = layerOf("linear", [2, 2]);
  const spectrum = float64([1, 2, 3, 4], [4]);
  const options = { frequencies: 4, scaling: 4, seed: 0 };
  const context = {
    path: "a",
    layers: new Map(),
    layersInOrder: () => new Map(),
    weight: async () => float64([0, 0, 0, 0], [2, 2]),
  };
  const made = await fourierft.prepare?.(layer, { spectrum } as never, options, context);
  const places = made?.places;
  // torch.randperm(4) with seed 0: 0, 1, 3, 2, so M = [[1, 2], [4, 3]].
  expect(Array.from(places?.data as BigInt64Array)).toEqual([0n, 0n, 1n, 1n, 0n, 1n, 1n, 0n]);
  const values = layerValues(layer, float64([0, 0, 0, 0], [2, 2]), undefined);
  const folded = plainNumbers(fourierft.weight?.(values, { spectrum, places } as never, options, {}));
  [10, 0, -4, -2].forEach((value, i) => {
    expect(folded[i]).toBeCloseTo(value, 13);
  });
});

test("more frequencies than entries are refused", () => {
  expect(() => fourierft.params(layerOf("linear", [2, 3]), plain)).toThrow(/at most 6/);
});
