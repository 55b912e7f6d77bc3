import { expectClose, fromData, type Tensor, tensor, toFloat64 } from "@loomweight/tensor";
import { expect, test } from "vitest";
import { wave } from "../test/wave.ts";
import { projectScaleInvariant } from "./projection.ts";

const settings = { delta: 0.1, epsilon: 1e-8 };
const matrix = (rows: number[][]) => tensor(rows, undefined, "float64");
const masks = (parameter: Tensor, gradient: Tensor) => {
  const { channel, layer } = projectScaleInvariant({ parameter, gradient, update: gradient }, settings);
  return [channel, layer].map((mask) => toFloat64(mask as Tensor)[0]);
};

test("rows are tried first, then the whole, then nothing: cases A, B, C of the card", () => {
  expect(
    masks(
      matrix([
        [3, 4],
        [1, -2],
      ]),
      matrix([
        [4, -3],
        [2, 1],
      ]),
    ),
  ).toEqual([1, 0]);
  expect(
    masks(
      matrix([
        [1, 0],
        [0, 1],
      ]),
      matrix([
        [1, 2],
        [3, -1],
      ]),
    ),
  ).toEqual([0, 1]);
  expect(
    masks(
      matrix([
        [1, 0],
        [0, 1],
      ]),
      matrix([
        [1, 2],
        [3, 1],
      ]),
    ),
  ).toEqual([0, 0]);
});

test("a projected update is orthogonal to every row of its weight", () => {
  const parameter = matrix([
    [3, 4],
    [1, -2],
  ]);
  const gradient = matrix([
    [4, -3],
    [2, 1],
  ]);
  const update = wave([2, 2], 3);
  const projected = toFloat64(projectScaleInvariant({ parameter, gradient, update }, settings).update as Tensor);
  const p = toFloat64(parameter);
  for (const row of [0, 1]) {
    expect(Math.abs(p[2 * row] * projected[2 * row] + p[2 * row + 1] * projected[2 * row + 1])).toBeLessThan(1e-6);
  }
});

test("the size of weight and gradient does not matter; a zero gradient passes, one column never does", () => {
  const [parameter, gradient] = [
    matrix([
      [3, 4],
      [1, -2],
    ]),
    matrix([
      [4, -3],
      [2, 1],
    ]),
  ];
  const scaled = (value: Tensor, factor: number) =>
    fromData(
      "float64",
      toFloat64(value).map((x) => x * factor),
      value.shape,
    );
  expect(masks(scaled(parameter, 100), scaled(gradient, 0.01))).toEqual([1, 0]);
  expect(masks(parameter, scaled(gradient, 0))).toEqual([1, 0]);
  expect(masks(matrix([[1], [2]]), matrix([[1], [-3]]))[0]).toBe(0);
});

test("a row of zeros changes nothing and gives no NaN", () => {
  const parameter = matrix([
    [0, 0],
    [1, -2],
  ]);
  const update = matrix([
    [5, 6],
    [2, 1],
  ]);
  const gradient = matrix([
    [1, 2],
    [2, 1],
  ]);
  const projected = projectScaleInvariant({ parameter, gradient, update }, settings).update as Tensor;
  expectClose(projected, update, 1e-12);
});
