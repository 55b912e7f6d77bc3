import { matMul, transpose } from "@loomweight/graph";
import { expectClose, type Tensor, tensor, toFloat64 } from "@loomweight/tensor";
import { expect, test } from "vitest";
import { wave } from "../test/wave.ts";
import { newtonSchulz } from "./newton-schulz.ts";

const matrix = (rows: number[][]) => tensor(rows, undefined, "float64");
const run = (value: Tensor, steps?: number) => newtonSchulz(value, steps) as Tensor;

test("the card's numbers, after one step and five, tall and square", () => {
  expectClose(
    run(
      matrix([
        [3, 0],
        [0, 4],
      ]),
      1,
    ),
    matrix([
      [1.19327, 0],
      [0, 0.976482],
    ]),
    1e-5,
  );
  expectClose(
    run(
      matrix([
        [3, 0],
        [0, 4],
      ]),
    ),
    matrix([
      [0.722876, 0],
      [0, 1.1192],
    ]),
    1e-5,
  );
  const tall = [
    [-0.467519, 0.573473],
    [0.0724323, 0.409453],
    [0.612383, 0.245432],
  ];
  expectClose(
    run(
      matrix([
        [1, 2],
        [3, 4],
        [5, 6],
      ]),
    ),
    matrix(tall),
    1e-5,
  );
});

test("a transposed matrix gives the transposed result, whatever its length", () => {
  const value = wave([3, 5], 1);
  expectClose(run(transpose(value, [1, 0])), transpose(run(value), [1, 0]), 1e-12);
});

test("singular values end between 0.68 and 1.14", () => {
  const result = run(wave([2, 6], 4));
  const [a, b, , d] = toFloat64(matMul(result, transpose(result, [1, 0])));
  const middle = (a + d) / 2;
  const spread = Math.sqrt(((a - d) / 2) ** 2 + b * b);
  for (const square of [middle + spread, middle - spread]) {
    expect(Math.sqrt(square)).toBeGreaterThan(0.68);
    expect(Math.sqrt(square)).toBeLessThan(1.14);
  }
});
