import { fromData } from "@loomweight/tensor";
import { expect, test } from "vitest";
import { adapterContract, float64, layerValues, plainNumbers, testRandom } from "../../test/contract.ts";
import { layerOf } from "../layer.ts";
import { type SupertuningOptions, supertuning } from "./supertuning.ts";

const plain: SupertuningOptions = { sparsity: 0.75, largest: true, placesStored: true, rank: 0, alpha: 0 };
const places = (at: readonly number[]) => fromData("int64", BigInt64Array.from(at, BigInt), [at.length]);
adapterContract(supertuning, [
  {
    what: "stored places",
    kind: "linear",
    storedShape: [6, 4],
    options: plain,
    params: () => ({ places: places([23, 0, 5, 6, 11, 12]) }),
  },
  { what: "places found again", kind: "linear", storedShape: [6, 4], options: { ...plain, placesStored: false } },
  {
    what: "with a LoRA beside it",
    kind: "linear",
    storedShape: [6, 4],
    options: { ...plain, rank: 2, alpha: 3 },
    params: () => ({ places: places([23, 0, 5, 6, 11, 12]) }),
  },
]);

const layer = layerOf("linear", [2, 2]);
const half = { ...plain, sparsity: 0.5 };
async function fold(
  w: readonly number[],
  params: Record<string, ReturnType<typeof float64> | ReturnType<typeof places>>,
  options: SupertuningOptions,
) {
  const weight = float64(w, [2, 2]);
  const context = { path: "a", layers: new Map(), layersInOrder: () => new Map(), weight: async () => weight };
  const made = await supertuning.prepare?.(layer, params as never, options, context);
  const all = { ...params, positions: made?.positions } as never;
  return plainNumbers(supertuning.weight?.(layerValues(layer, weight, undefined), all, options, {}));
}

test("worked example of the page", async () => {
  const values = float64([0.5, -1], [2]);
  expect(await fold([1, -4, 3, 2], { values, places: places([1, 2]) }, half)).toEqual([1, -3.5, 2, 2]);
  // The same places, found by magnitude; and the smallest ones.
  expect(await fold([1, -4, 3, 2], { values }, { ...half, placesStored: false })).toEqual([1, -3.5, 2, 2]);
  expect(await fold([1, -4, 3, 2], { values }, { ...half, placesStored: false, largest: false })).toEqual([
    1.5, -4, 3, 1,
  ]);
});

test("equal magnitudes without stored places are refused, a fresh adapter takes the first", async () => {
  const values = float64([0.5, -1], [2]);
  await expect(fold([1, -4, 4, 2], { values }, { ...half, placesStored: false })).rejects.toThrow(/equal magnitudes/);
  const made = supertuning.init(layer, half, { random: testRandom(), weight: float64([1, -4, 4, 2], [2, 2]) });
  expect(Array.from(made.places.data as BigInt64Array)).toEqual([1n, 2n]);
});

test("places outside the weight and sparsities that leave nothing are refused", async () => {
  await expect(fold([1, 2, 3, 4], { values: float64([1, 1], [2]), places: places([0, 4]) }, half)).rejects.toThrow(
    /does not have/,
  );
  expect(() => supertuning.params(layer, { ...plain, sparsity: 0.9 })).toThrow(/no entry/);
});
