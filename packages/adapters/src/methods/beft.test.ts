import { expect, test } from "vitest";
import { adapterContract, float64, layerValues, numbers, plainNumbers, testRandom } from "../../test/contract.ts";
import { layerOf } from "../layer.ts";
import { beft } from "./beft.ts";

adapterContract(beft, [{ what: "linear [3, 2]", kind: "linear", storedShape: [3, 2], options: {} }]);

const layer = layerOf("linear", [3, 2]);

test("worked example of the page: the bias moves, the output with it", () => {
  const [bias, shift] = [float64([1, 2, 3], [3]), float64([0.5, 0, -1], [3])];
  expect(plainNumbers(beft.bias?.change(bias, layer, { shift }, {}))).toEqual([1.5, 2, 2]);
  const values = layerValues(layer, numbers("w", [3, 2]), bias);
  const x = numbers("x", [4, 2]);
  const moved = beft.apply(values, { shift }, x, {}) as typeof bias;
  const plain = values.forward(x) as typeof bias;
  expect(Array.from(moved.data, (value, i) => Math.round((value - plain.data[i]) * 1e12) / 1e12).slice(0, 3)).toEqual([
    0.5, 0, -1,
  ]);
});

test("a fresh adapter is zero and there is no weight to change", () => {
  expect(Array.from(beft.init(layer, {}, { random: testRandom() }).shift.data as Float32Array)).toEqual([0, 0, 0]);
  expect(beft.weight).toBeUndefined();
});
