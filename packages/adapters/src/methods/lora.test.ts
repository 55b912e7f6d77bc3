import { fromData, type Tensor } from "@loomweight/tensor";
import fc from "fast-check";
import { expect, test } from "vitest";
import { adapterContract, layerValues, numbers } from "../../test/contract.ts";
import { layerOf } from "../layer.ts";
import { lora } from "./lora.ts";

const plain = { rank: 2, alpha: 3, rankStabilized: false, outputBias: false, init: "uniform" as const };
adapterContract(lora, [
  { what: "linear [6, 4]", kind: "linear", storedShape: [6, 4], options: plain },
  {
    what: "linear with rsLoRA and a bias on B",
    kind: "linear",
    storedShape: [5, 7],
    options: { ...plain, rankStabilized: true, outputBias: true },
  },
  { what: "GPT-2's Conv1D [4, 9]", kind: "transposedLinear", storedShape: [4, 9], options: plain },
  { what: "embedding [11, 4]", kind: "embedding", storedShape: [11, 4], options: plain },
  { what: "convolution [6, 3, 3, 2]", kind: "convolution", storedShape: [6, 3, 3, 2], options: plain },
  { what: "PiSSA", kind: "linear", storedShape: [6, 4], options: { ...plain, init: "pissa" } },
  { what: "OLoRA", kind: "linear", storedShape: [6, 4], options: { ...plain, init: "olora" } },
]);

const matrix = (rows: number[][]) => fromData("float64", Float64Array.from(rows.flat()), [rows.length, rows[0].length]);
const merged = (w: number[][], a: number[][], b: number[][], options: typeof plain) => {
  const layer = layerOf("linear", [w.length, w[0].length]);
  const values = layerValues(layer, matrix(w), undefined);
  return lora.weight?.(values, { A: matrix(a), B: matrix(b) } as never, options, {}) as Tensor;
};

test("worked example: W = [[1, 2], [3, 4]], A = [[1, -1]], B = [[0.5], [0.25]], alpha 2, rank 1", () => {
  const weight = merged(
    [
      [1, 2],
      [3, 4],
    ],
    [[1, -1]],
    [[0.5], [0.25]],
    { ...plain, rank: 1, alpha: 2 },
  );
  expect([...(weight.data as Float64Array)]).toEqual([2, 1, 3.5, 3.5]);
});

test("rsLoRA with alpha is LoRA with alpha times the root of the rank", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 6 }), fc.double({ min: -8, max: 8, noNaN: true }), (rank, alpha) => {
      const layer = layerOf("linear", [5, 4]);
      const values = layerValues(layer, numbers("w", [5, 4]), undefined);
      const params = { A: numbers("a", [rank, 4]), B: numbers("b", [5, rank]) } as never;
      const stabilized = lora.weight?.(values, params, { ...plain, rank, alpha, rankStabilized: true }, {}) as Tensor;
      const scaled = lora.weight?.(values, params, { ...plain, rank, alpha: alpha * Math.sqrt(rank) }, {}) as Tensor;
      (stabilized.data as Float64Array).forEach((value, i) => {
        expect(value).toBeCloseTo((scaled.data as Float64Array)[i], 10);
      });
    }),
  );
});

test("the scale is not rounded to float32 on its way into the weight", () => {
  const weight = merged([[0]], [[1]], [[1]], { ...plain, rank: 3, alpha: 1 });
  expect((weight.data as Float64Array)[0]).toBe(1 / 3);
});
