import { expect, test } from "vitest";
import { gradient } from "../src/gradient/gradient.ts";
import { input } from "../src/inputs.ts";
import { pow } from "../src/ops/elementwise.ts";
import { matMul } from "../src/ops/matmul.ts";
import { reduceMean } from "../src/ops/reduce.ts";

test("the example of docs/gradients.md", () => {
  const w = input("w", "float32", [3, 2]);
  const x = input("x", "float32", [8, 3]);
  const loss = reduceMean(pow(matMul(x, w), 2), undefined, false);
  const { w: dw } = gradient(loss, { w });
  expect(dw.shape).toEqual([3, 2]);
});
