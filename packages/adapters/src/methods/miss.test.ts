import { evaluateTrace, gradient, input, mul, reduceSum, sub, type Value } from "@loomweight/graph";
import { numericalRank } from "@loomweight/linalg";
import { cast, fromData, type Tensor } from "@loomweight/tensor";
import { expect, test } from "vitest";
import { adapterContract, largestDifference, layerValues, numbers } from "../../test/contract.ts";
import type { Params } from "../define.ts";
import { layerOf } from "../layer.ts";
import { lora } from "./lora.ts";
import { type MissOptions, miss, missToLora } from "./miss.ts";

const plain: MissOptions = { rank: 2, mode: "miss", miniRank: 1 };
adapterContract(miss, [
  { what: "miss on [6, 4]", kind: "linear", storedShape: [6, 4], options: plain },
  { what: "miss with a remainder", kind: "linear", storedShape: [6, 7], options: { ...plain, rank: 3 } },
  { what: "miss with a rank above the width", kind: "linear", storedShape: [6, 3], options: { ...plain, rank: 5 } },
  { what: "mini", kind: "linear", storedShape: [6, 5], options: { rank: 2, mode: "mini", miniRank: 3 } },
  { what: "bat", kind: "linear", storedShape: [6, 4], options: { ...plain, mode: "bat" } },
  { what: "bat-row", kind: "linear", storedShape: [4, 6], options: { ...plain, mode: "bat-row" } },
  { what: "bat-ab", kind: "linear", storedShape: [6, 4], options: { ...plain, mode: "bat-ab" } },
]);

/** Parameters of the modes that have a block alone. */
const only = (block: Value) => ({ block }) as Params<"block" | "offset">;
const matrix = (rows: number[][]) => fromData("float64", Float64Array.from(rows.flat()), [rows.length, rows[0].length]);
const w = [
  [1, 2, 0, -1],
  [0, 1, 1, 2],
  [2, 0, -1, 1],
  [1, -1, 2, 0],
];
function fold(weight: number[][], block: Tensor, options: MissOptions): number[] {
  const layer = layerOf("linear", [weight.length, weight[0].length]);
  const folded = miss.weight?.(layerValues(layer, matrix(weight), undefined), only(block), options, {}) as Tensor;
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
  const ours = miss.weight?.(values, only(block), { ...plain, rank }, {}) as Tensor;
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

test("miss and mini become a LoRA of the same rank that folds to the same weight; bat does not", () => {
  const layer = layerOf("linear", [6, 7]);
  const values = layerValues(layer, numbers("w", [6, 7]), undefined);
  for (const [options, shape] of [
    [{ ...plain, rank: 3 }, [3, 6]],
    [{ rank: 3, mode: "mini", miniRank: 2 }, [3, 2]],
  ] as const) {
    const block = numbers("block", shape);
    const { A, B, rank, alpha } = missToLora(layer, block, options);
    const given = { rank, alpha, rankStabilized: false, outputBias: false, init: "uniform" as const };
    const wide = { A: cast(A, "float64"), B: cast(B, "float64") };
    const theirs = lora.weight?.(values, wide as never, given, {}) as Tensor;
    expect(largestDifference(theirs, miss.weight?.(values, only(block), options, {}) as Tensor)).toBeLessThan(1e-12);
  }
  expect(() => missToLora(layer, numbers("block", [3, 2, 2]), { ...plain, mode: "bat" })).toThrow(/no low rank/);
});

test("bat on a weight of zeros is miss; its update has any rank; without the guide it has that of the shards", () => {
  const rank = 3;
  const layer = layerOf("linear", [12, 12]);
  const block = numbers("block", [4, rank, rank], 0.3);
  const shards = fromData(
    "float64",
    Float64Array.from({ length: rank * 12 }, (_, at) => {
      const [j, o] = [Math.floor(at / 12), at % 12];
      return block.data[Math.floor(o / rank) * rank * rank + (o % rank) * rank + j];
    }),
    [rank, 12],
  );
  const zero = layerValues(layer, fromData("float64", new Float64Array(144), [12, 12]), undefined);
  const guided = miss.weight?.(zero, only(block), { ...plain, rank, mode: "bat" }, {}) as Tensor;
  const plainly = miss.weight?.(zero, only(shards), { ...plain, rank }, {}) as Tensor;
  expect(largestDifference(guided, plainly)).toBeLessThan(1e-15);
  expect(numericalRank(plainly)).toBe(rank);
  const weight = numbers("w", [12, 12]);
  const folded = miss.weight?.(layerValues(layer, weight, undefined), only(block), { ...plain, rank, mode: "bat" }, {});
  expect(numericalRank(sub(folded as Tensor, weight) as Tensor)).toBe(12);
});

test("two bat adapters do not commute, and are undone in reverse order; a singular one cannot be", () => {
  const options: MissOptions = { ...plain, mode: "bat" };
  const layer = layerOf("linear", [6, 4]);
  const weight = numbers("w", [6, 4]);
  const [one, two] = ["one", "two"].map((name) => only(numbers(name, [3, 2, 2], 0.4)));
  const values = (given: Tensor) => layerValues(layer, given as Tensor<"float64">, undefined);
  const applied = (given: Tensor, params: typeof one) => miss.weight?.(values(given), params, options, {}) as Tensor;
  const undone = (given: Tensor, params: typeof one) => miss.original?.(values(given), params, options) as Tensor;
  const both = applied(applied(weight, one), two);
  expect(largestDifference(both, applied(applied(weight, two), one))).toBeGreaterThan(0.01);
  expect(largestDifference(undone(undone(both, two), one), weight)).toBeLessThan(1e-12);
  const minus = fromData("float64", Float64Array.of(-1, 0, 0, -1, 0, 0, 0, 0, 0, 0, 0, 0), [3, 2, 2]);
  expect(() => undone(weight, only(minus))).toThrow(/singular/);
});

test("worked example: the gradients of miss and of bat", () => {
  const g = matrix([[1, 0, -1, 2]]);
  const x = matrix([[1, 2, 3, 4]]);
  const layer = layerValues(layerOf("linear", [4, 4]), matrix(w), undefined);
  const gradientOf = (block: Tensor<"float64">, options: MissOptions) => {
    const param = input("block", "float64", block.shape);
    const y = miss.apply(layer, only(param), x, options);
    const { d } = evaluateTrace({ d: gradient(reduceSum(mul(y, g), [0, 1], false), param) }, { block });
    return [...(d.data as Float64Array)];
  };
  close(
    gradientOf(
      matrix([
        [0.1, -0.2, 0.3, 0],
        [0.5, 0.1, -0.1, 0.2],
      ]),
      plain,
    ),
    [
      [4, 0, -4, 8],
      [6, 0, -6, 12],
    ],
  );
  const block = fromData("float64", Float64Array.of(0.1, 0.2, 0, -0.1, -0.2, 0.1, 0.3, 0), [2, 2, 2]);
  close(gradientOf(block, { ...plain, mode: "bat" }), [
    [5, 8],
    [-1, 0],
    [11, 14],
    [3, 4],
  ]);
});

test("bat and mini refuse ranks that do not divide the layer", () => {
  expect(() => miss.params(layerOf("linear", [6, 5]), { ...plain, mode: "bat" })).toThrow(/divisor of 5/);
  expect(() => miss.params(layerOf("linear", [6, 5]), { rank: 2, mode: "mini", miniRank: 4 })).toThrow(/divisor of 6/);
});
