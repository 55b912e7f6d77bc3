import { expect, test } from "vitest";
import { adapterContract, expectNumbers, float64, foldRows } from "../../test/contract.ts";
import { layerOf } from "../layer.ts";
import { road } from "./road.ts";

adapterContract(road, [
  { what: "road_1", kind: "linear", storedShape: [12, 5], options: { variant: "road_1", groupSize: 4 } },
  { what: "road_2", kind: "linear", storedShape: [12, 5], options: { variant: "road_2", groupSize: 6 } },
  { what: "road_4", kind: "linear", storedShape: [12, 5], options: { variant: "road_4", groupSize: 4 } },
]);

test("worked example of the page: a quarter turn, twice as long", () => {
  const params = { angle: float64([Math.PI / 2], [1]), length: float64([2], [1]) };
  const w = [
    [1, 2],
    [3, 4],
  ];
  expectNumbers(foldRows(road, w, params, { variant: "road_1", groupSize: 2 }), [-6, -8, 2, 4]);
});

test("road_2 with equal halves is road_1, road_4 with equal parts is road_2", () => {
  const w = Array.from({ length: 4 }, (_, i) => [i + 1, 2 - i]);
  const [a, b] = [
    [0.3, -1],
    [2, 0.5],
  ];
  const one = { angle: float64(a, [2]), length: float64(b, [2]) };
  const two = { angle: float64([...a, ...a], [4]), length: float64([...b, ...b], [4]) };
  const four = { angle: float64([...a, ...a, ...a, ...a], [8]), length: float64([...b, ...b, ...b, ...b], [8]) };
  const expected = foldRows(road, w, one, { variant: "road_1", groupSize: 4 });
  expectNumbers(foldRows(road, w, two, { variant: "road_2", groupSize: 4 }), expected);
  expectNumbers(foldRows(road, w, four, { variant: "road_4", groupSize: 4 }), expected);
});

test("groups that do not fit are refused", () => {
  const layer = layerOf("linear", [6, 4]);
  expect(() => road.params(layer, { variant: "road_1", groupSize: 4 })).toThrow(/divisor of the layer's 6/);
  expect(() => road.params(layer, { variant: "road_1", groupSize: 3 })).toThrow(/even/);
});
