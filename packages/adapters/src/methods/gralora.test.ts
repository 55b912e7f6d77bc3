import { expect, test } from "vitest";
import { adapterContract, expectNumbers, float64, foldRows, numbers } from "../../test/contract.ts";
import { layerOf } from "../layer.ts";
import { gralora } from "./gralora.ts";
import { lora } from "./lora.ts";

const plain = { rank: 4, alpha: 6, blocks: 2, commonRank: 0 };
adapterContract(gralora, [
  { what: "linear [6, 4]", kind: "linear", storedShape: [6, 4], options: plain },
  {
    what: "with a LoRA beside it",
    kind: "linear",
    storedShape: [9, 6],
    options: { ...plain, rank: 3, blocks: 3, commonRank: 2 },
  },
  {
    what: "GPT-2's Conv1D [4, 10]",
    kind: "transposedLinear",
    storedShape: [4, 10],
    options: { ...plain, commonRank: 1 },
  },
]);

test("worked example of the page", () => {
  // Two by two blocks of one entry, rank 2: entry (j, n) is A[n, 0, j] · B[j, n, 0].
  const params = { A: float64([1, 2, 3, 4], [2, 1, 2]), B: float64([5, 6, 7, 8], [2, 2, 1]) };
  const zero = [
    [0, 0],
    [0, 0],
  ];
  expectNumbers(foldRows(gralora, zero, params, { rank: 2, alpha: 2, blocks: 2, commonRank: 0 }), [5, 18, 14, 32]);
});

test("one block is LoRA with transposed factors", () => {
  const [A, B] = [numbers("A", [3, 2]), numbers("B", [2, 4])];
  const turned = (x: typeof A) => {
    const [rows, columns] = x.shape;
    return float64(
      Array.from({ length: rows * columns }, (_, i) => x.data[(i % rows) * columns + Math.floor(i / rows)]),
      [columns, rows],
    );
  };
  const zero = Array.from({ length: 4 }, () => [0, 0, 0]);
  const ours = foldRows(
    gralora,
    zero,
    { A: float64(Array.from(A.data), [1, 3, 2]), B: float64(Array.from(B.data), [1, 2, 4]) },
    { rank: 2, alpha: 3, blocks: 1, commonRank: 0 },
  );
  const theirs = foldRows(
    lora,
    zero,
    { A: turned(A), B: turned(B) },
    { rank: 2, alpha: 3, rankStabilized: false, outputBias: false },
  );
  expectNumbers(ours, theirs);
});

test("blocks that do not divide are refused", () => {
  expect(() => gralora.params(layerOf("linear", [6, 5]), plain)).toThrow(/inputs, 5/);
  expect(() => gralora.params(layerOf("linear", [6, 4]), { ...plain, rank: 3 })).toThrow(/rank, 3/);
});
