import { matMul, transpose } from "@loomweight/graph";
import type { Tensor } from "@loomweight/tensor";
import { expect, test } from "vitest";
import { expectNumbers, float64, largestDifference, numbers, plainNumbers } from "../../test/contract.ts";
import { identityLike } from "./rotation.ts";
import { householderQ } from "./signed-qr.ts";

test("worked example: the first column points away, the last of a square matrix stays", () => {
  // numpy.linalg.qr([[3, 1], [4, 2]]): Q = [[-0.6, -0.8], [-0.8, 0.6]]
  expectNumbers(plainNumbers(householderQ(float64([3, 1, 4, 2], [2, 2]))), [-0.6, -0.8, -0.8, 0.6]);
});

test.for([
  [5, 3],
  [4, 4],
  [7, 1],
] as const)("Q of [%i, %i] is orthonormal and spans the matrix", ([rows, columns]) => {
  const a = numbers("a", [rows, columns]);
  const q = householderQ(a) as Tensor;
  expect(largestDifference(matMul(transpose(q, [1, 0]), q) as Tensor, identityLike(q, columns) as Tensor)).toBeLessThan(
    1e-13,
  );
  const back = matMul(q, matMul(transpose(q, [1, 0]), a)) as Tensor;
  expect(largestDifference(back, a)).toBeLessThan(1e-13);
});
