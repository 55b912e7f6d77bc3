import { expect, test } from "vitest";
import { adapterContract, float64, layerValues, plainNumbers } from "../../test/contract.ts";
import { layerOf } from "../layer.ts";
import { waveft } from "./waveft.ts";

const plain = { frequencies: 9, scaling: 5, wavelet: "db1", transformed: true, seed: 777, proportional: false };
adapterContract(waveft, [
  { what: "db1 on linear [6, 10]", kind: "linear", storedShape: [6, 10], options: plain },
  { what: "db3 on odd sizes", kind: "linear", storedShape: [7, 9], options: { ...plain, wavelet: "db3" } },
  {
    what: "GPT-2's Conv1D [10, 9]",
    kind: "transposedLinear",
    storedShape: [10, 9],
    options: { ...plain, wavelet: "db2" },
  },
  { what: "without transform", kind: "linear", storedShape: [6, 10], options: { ...plain, transformed: false } },
]);

async function fold(spectrum: readonly number[], options: typeof plain) {
  const layer = layerOf("linear", [2, 2]);
  const context = {
    path: "a",
    layers: new Map(),
    layersInOrder: () => new Map(),
    weight: async () => float64([0, 0, 0, 0], [2, 2]),
  };
  const own = { spectrum: float64(spectrum, [spectrum.length]) };
  const made = await waveft.prepare?.(layer, own as never, options, context);
  const params: Record<string, unknown> = { ...own };
  for (const [name, each] of Object.entries(made ?? {})) params[name] = each;
  const values = layerValues(layer, float64([0, 0, 0, 0], [2, 2]), undefined);
  return plainNumbers(waveft.weight?.(values, params as never, options, {}));
}

test("worked example of the page", async () => {
  const options = { ...plain, frequencies: 4, scaling: 2, seed: 0 };
  // torch.randperm(4) with seed 0: 0, 1, 3, 2, so M = [[1, 2], [4, 3]].
  const spectrum = [1, 2, 3, 4];
  expect(await fold(spectrum, { ...options, transformed: false })).toEqual([2, 4, 8, 6]);
  // Halves of ± sums: rows are told apart by 2 (top right), columns by 4 (bottom left).
  (await fold(spectrum, options)).forEach((value, i) => {
    expect(value).toBeCloseTo([10, -4, 0, -2][i], 12);
  });
});

test("wavelets that are not built are refused by name, and too many coefficients", () => {
  expect(() => waveft.files.readOptions?.({ wavelet_family: "sym4", use_idwt: true }, "f")).toThrow(/"sym4"/);
  expect(() => waveft.files.readOptions?.({ wavelet_family: "db11", use_idwt: true }, "f")).toThrow(/db1 to db10/);
  expect(waveft.files.readOptions?.({ wavelet_family: "sym4", use_idwt: false }, "f")).toEqual({});
  expect(() => waveft.params(layerOf("linear", [2, 3]), plain)).toThrow(/at most 6/);
});

test("the file says how many coefficients were dealt to a layer", () => {
  const layer = layerOf("linear", [6, 10]);
  expect(waveft.params(layer, { ...plain, proportional: true }, new Map([["spectrum", [4]]])).spectrum).toEqual([4]);
  expect(waveft.params(layer, plain, new Map([["spectrum", [4]]])).spectrum).toEqual([9]);
});
