import { expect, test } from "vitest";
import { adapterContract, expectNumbers, float64, foldRows, plainNumbers } from "../../test/contract.ts";
import { layerOf } from "../layer.ts";
import { type GloraOptions, glora } from "./glora.ts";

const plain: GloraOptions = { rank: 2, weightPaths: "lora", inputPath: "lora", biasPaths: "constant", biased: true };
adapterContract(glora, [
  { what: "low rank and constants", kind: "linear", storedShape: [6, 4], options: plain },
  {
    what: "vectors",
    kind: "linear",
    storedShape: [6, 4],
    options: { ...plain, weightPaths: "vector", inputPath: "vector", biasPaths: "vector" },
  },
]);
adapterContract(glora, [
  {
    what: "without C",
    kind: "linear",
    storedShape: [6, 4],
    options: { ...plain, inputPath: "none", biasPaths: "vector" },
  },
  {
    what: "a constant alone",
    kind: "linear",
    storedShape: [6, 4],
    options: { ...plain, weightPaths: "constant", inputPath: "none", biasPaths: "none" },
  },
]);

const vectors: GloraOptions = { ...plain, weightPaths: "vector", inputPath: "vector", biasPaths: "vector" };
test("worked example of the page", async () => {
  const w = [
    [1, 2],
    [3, 4],
  ];
  const params = {
    A: float64([1, 0], [2, 1]),
    B: float64([0, 0.5], [2, 1]),
    C: float64([1, -1], [2, 1]),
    D: float64([2, 0], [2]),
    E: float64([0, 3], [2]),
  };
  expectNumbers(foldRows(glora, w, params, vectors), [2, 4, 3.5, 4.5]);
  const layer = layerOf("linear", [2, 2]);
  const context = {
    path: "a",
    layers: new Map(),
    layersInOrder: () => new Map(),
    weight: async () => float64(w.flat(), [2, 2]),
  };
  const made = await glora.prepare?.(layer, params, vectors, context);
  const all = { ...params, throughWeight: made?.throughWeight } as never;
  // b + b ∘ D + E + W C = [1, 1] + [2, 0] + [0, 3] + [-1, -1]
  expectNumbers(plainNumbers(glora.bias?.change(float64([1, 1], [2]), layer, all, vectors)), [2, 3]);
});

test("what the file holds says whether the layer has a bias", () => {
  const layer = layerOf("linear", [6, 4]);
  const held = new Map(["CZeros", "DZeros", "EZeros"].map((name) => [name, [1]]));
  expect(Object.keys(glora.params(layer, plain, held))).toEqual([
    "ADown",
    "AUp",
    "BDown",
    "BUp",
    "CZeros",
    "DZeros",
    "EZeros",
  ]);
  expect(Object.keys(glora.params(layer, plain, new Map()))).toContain("CDown");
});
