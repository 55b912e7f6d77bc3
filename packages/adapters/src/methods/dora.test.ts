import { fromData, LoomweightError, type Tensor } from "@loomweight/tensor";
import { expect, test } from "vitest";
import { adapterContract, layerValues, numbers, testRandom } from "../../test/contract.ts";
import { layerOf } from "../layer.ts";
import { addLowRank } from "../maths/low-rank.ts";
import { dora, factoredSquares } from "./dora.ts";

const plain = { rank: 2, alpha: 3, rankStabilized: false, init: "uniform" as const, detachNorm: true };
adapterContract(
  dora,
  [
    { what: "linear [6, 4]", kind: "linear", storedShape: [6, 4], options: plain },
    { what: "linear with rsLoRA", kind: "linear", storedShape: [5, 7], options: { ...plain, rankStabilized: true } },
    { what: "GPT-2's Conv1D [4, 9]", kind: "transposedLinear", storedShape: [4, 9], options: plain },
    { what: "embedding [11, 4]", kind: "embedding", storedShape: [11, 4], options: plain },
    { what: "convolution [6, 3, 3, 2]", kind: "convolution", storedShape: [6, 3, 3, 2], options: plain },
  ],
  {
    "attached, its gradients are those of central differences":
      "the norm is a constant in training (§4.3 of the paper); PEFT's gradients are replayed",
  },
);

const matrix = (rows: number[][]) => fromData("float64", Float64Array.from(rows.flat()), [rows.length, rows[0].length]);
function fold(w: number[][], a: number[][], b: number[][], m: number[], scale: number): Tensor {
  const layer = layerOf("linear", [w.length, w[0].length]);
  const values = layerValues(layer, matrix(w), undefined);
  const params = { A: matrix(a), B: matrix(b), magnitude: fromData("float64", Float64Array.from(m), [m.length]) };
  const options = { ...plain, rank: 1, alpha: scale };
  return dora.weight?.(values, params, options, dora.sums?.(values, params, options) ?? {}) as Tensor;
}

test("worked example: rows of the merged weight have the length of the magnitudes", () => {
  const weight = fold(
    [
      [3, 4],
      [0, 2],
    ],
    [[1, -1]],
    [[1], [0.5]],
    [5, 2.2],
    0.5,
  );
  const expected = [3.53553, 3.53553, 0.311127, 2.17789];
  (weight.data as Float64Array).forEach((value, i) => {
    expect(value).toBeCloseTo(expected[i], 5);
  });
  const [p, q, r, s] = weight.data as Float64Array;
  expect(Math.hypot(p, q)).toBeCloseTo(5, 12);
  expect(Math.hypot(r, s)).toBeCloseTo(2.2, 12);
});

test("a row of zeros stays zero instead of becoming NaN", () => {
  const weight = fold(
    [
      [0, 0],
      [1, 0],
    ],
    [[1, 1]],
    [[0], [0]],
    [3, 2],
    1,
  );
  expect([...(weight.data as Float64Array)]).toEqual([0, 0, 2, 0]);
});

test("scaling weight and B together changes nothing while the magnitudes stay", () => {
  const once = fold(
    [
      [3, 4],
      [0, 2],
    ],
    [[1, -1]],
    [[1], [0.5]],
    [5, 2.2],
    0.5,
  );
  const scaled = fold(
    [
      [21, 28],
      [0, 14],
    ],
    [[1, -1]],
    [[7], [3.5]],
    [5, 2.2],
    0.5,
  );
  (once.data as Float64Array).forEach((value, i) => {
    expect(value).toBeCloseTo((scaled.data as Float64Array)[i], 12);
  });
});

test("the norm is taken of the base and its own update, not of what another adapter made of the weight", () => {
  const layer = layerOf("linear", [2, 2]);
  const base = layerValues(
    layer,
    matrix([
      [3, 4],
      [0, 2],
    ]),
    undefined,
  );
  const changed = {
    ...base,
    weight: matrix([
      [30, 40],
      [0, 20],
    ]),
  };
  const params = {
    A: matrix([[0, 0]]),
    B: matrix([[0], [0]]),
    magnitude: fromData("float64", Float64Array.of(5, 2), [2]),
  };
  const options = { ...plain, rank: 1 };
  const weight = dora.weight?.(changed, params, options, dora.sums?.(changed, params, options) ?? {}) as Tensor;
  expect([...(weight.data as Float64Array)]).toEqual([30, 40, 0, 20]);
});

test("a fresh adapter needs the layer's weight and says so", () => {
  const layer = layerOf("linear", [2, 2]);
  expect(() => dora.init(layer, plain, { random: testRandom() })).toThrow(LoomweightError);
  expect(numbers("w", [2]).shape).toEqual([2]);
});

adapterContract(dora, [
  {
    what: "linear [6, 4], the norm differentiated",
    kind: "linear",
    storedShape: [6, 4],
    options: { ...plain, detachNorm: false },
  },
  {
    what: "convolution [6, 3, 3, 2], the norm differentiated",
    kind: "convolution",
    storedShape: [6, 3, 3, 2],
    options: { ...plain, detachNorm: false },
  },
]);

test("the norm by factors is that of the sum; a sum of zeros has none", () => {
  for (const [out, inner, rank, scale] of [
    [5, 9, 2, 0.7],
    [4, 3, 6, -1.3],
    [3, 8, 2, 0],
  ]) {
    const [w, a, b] = [numbers("w", [out, inner]), numbers("a", [rank, inner]), numbers("b", [out, rank])];
    const found = factoredSquares(w, { A: a, B: b }, scale) as Tensor;
    const whole = addLowRank(w, { A: a, B: b }, scale) as Tensor;
    for (let i = 0; i < out; i++) {
      let sum = 0;
      for (let j = 0; j < inner; j++) sum += (whole.data as Float64Array)[i * inner + j] ** 2;
      expect((found.data as Float64Array)[i]).toBeCloseTo(sum, 11);
    }
  }
  const none = matrix([[0, 0]]);
  expect([...((factoredSquares(none, { A: none, B: matrix([[0]]) }, 1) as Tensor).data as Float64Array)]).toEqual([0]);
});
