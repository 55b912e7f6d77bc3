import { fromData, type Tensor } from "@loomweight/tensor";
import { expect, test } from "vitest";
import { adapterContract, layerValues, numbers } from "../../test/contract.ts";
import { layerOf } from "../layer.ts";
import { lora } from "./lora.ts";
import { type MissOptions, miss } from "./miss.ts";

const plain: MissOptions = { rank: 2, mode: "miss", miniRank: 1 };
adapterContract(miss, [
  { what: "miss on [6, 4]", kind: "linear", storedShape: [6, 4], options: plain },
  { what: "miss with a remainder", kind: "linear", storedShape: [6, 7], options: { ...plain, rank: 3 } },
  { what: "miss with a rank above the width", kind: "linear", storedShape: [6, 3], options: { ...plain, rank: 5 } },
  { what: "mini", kind: "linear", storedShape: [6, 5], options: { rank: 2, mode: "mini", miniRank: 3 } },
  { what: "bat", kind: "linear", storedShape: [6, 4], options: { ...plain, mode: "bat" } },
]);

const matrix = (rows: number[][]) => fromData("float64", Float64Array.from(rows.flat()), [rows.length, rows[0].length]);
const w = [
  [1, 2, 0, -1],
  [0, 1, 1, 2],
  [2, 0, -1, 1],
  [1, -1, 2, 0],
];
function fold(weight: number[][], block: Tensor, options: MissOptions): number[] {
  const layer = layerOf("linear", [weight.length, weight[0].length]);
  const folded = miss.weight?.(layerValues(layer, matrix(weight), undefined), { block }, options, {}) as Tensor;
  return [...(folded.data as Float64Array)];
}
const close = (got: number[], expected: number[][]) => {
  expected.flat().forEach((value, i) => {
    expect(got[i]).toBeCloseTo(value, 12);
  });
  expect(got.length).toBe(expected.flat().length);
};

test("worked example of miss", () => {
  close(
    fold(
      w,
      matrix([
        [0.1, -0.2, 0.3, 0],
        [0.5, 0.1, -0.1, 0.2],
      ]),
      plain,
    ),
    [
      [1.1, 2.5, 0.1, -0.5],
      [-0.2, 1.1, 0.8, 2.1],
      [2.3, -0.1, -0.7, 0.9],
      [1, -0.8, 2, 0.2],
    ],
  );
});

test("worked example of mini: rows alternate", () => {
  const got = fold(
    w.map((row) => row.map(() => 0)),
    matrix([
      [0.1, -0.2],
      [0.5, 0.1],
    ]),
    { rank: 2, mode: "mini", miniRank: 2 },
  );
  close(got, [
    [0.1, 0.5, 0.1, 0.5],
    [-0.2, 0.1, -0.2, 0.1],
    [0.1, 0.5, 0.1, 0.5],
    [-0.2, 0.1, -0.2, 0.1],
  ]);
});

test("worked example of bat", () => {
  const block = fromData("float64", Float64Array.of(0.1, 0.2, 0, -0.1, -0.2, 0.1, 0.3, 0), [2, 2, 2]);
  close(fold(w, block, { ...plain, mode: "bat" }), [
    [1.2, 2.2, 0.1, -0.7],
    [0, 0.8, 1.1, 1.9],
    [1.4, 0.3, -0.7, 1],
    [0.8, -0.9, 1.9, 0.2],
  ]);
});

test("worked example of a remainder: the last block is cut", () => {
  close(
    fold(
      [
        [1, 2, 0],
        [0, 1, 1],
      ],
      matrix([
        [0.1, -0.2],
        [0.5, 0.1],
      ]),
      plain,
    ),
    [
      [1.1, 2.5, 0.1],
      [-0.2, 1.1, 0.8],
    ],
  );
});

test("miss is LoRA with a fixed A of zeros and ones", () => {
  const [out, width, rank] = [5, 7, 3];
  const layer = layerOf("linear", [out, width]);
  const values = layerValues(layer, numbers("w", [out, width]), undefined);
  const block = numbers("block", [rank, out]);
  const a = fromData(
    "float64",
    Float64Array.from({ length: rank * width }, (_, i) => ((i % width) % rank === Math.floor(i / width) ? 1 : 0)),
    [rank, width],
  );
  const b = fromData(
    "float64",
    Float64Array.from({ length: out * rank }, (_, i) => block.data[(i % rank) * out + Math.floor(i / rank)]),
    [out, rank],
  );
  const ours = miss.weight?.(values, { block }, { ...plain, rank }, {}) as Tensor;
  const theirs = lora.weight?.(
    values,
    { A: a, B: b } as never,
    { rank, alpha: rank, rankStabilized: false, outputBias: false, init: "uniform" as const },
    {},
  ) as Tensor;
  (ours.data as Float64Array).forEach((value, i) => {
    expect(value).toBeCloseTo((theirs.data as Float64Array)[i], 12);
  });
});

test("bat and mini refuse ranks that do not divide the layer", () => {
  expect(() => miss.params(layerOf("linear", [6, 5]), { ...plain, mode: "bat" })).toThrow(/divisor of 5/);
  expect(() => miss.params(layerOf("linear", [6, 5]), { rank: 2, mode: "mini", miniRank: 4 })).toThrow(/divisor of 6/);
});
