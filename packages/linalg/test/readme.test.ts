import { tensor, toNumbers } from "@loomweight/tensor";
import { expect, test } from "vitest";
import { svd } from "../src/index.ts";
import { graphRandomizedSvd } from "../src/node/index.ts";
import { matrixOf } from "./matrices.ts";

test("the README's example gives what it says", () => {
  const weight = tensor([
    [3, 0],
    [4, 5],
  ]);
  const { u, singularValues, vt } = svd(weight, { rank: 1 });
  expect((toNumbers(singularValues) as number[])[0]).toBeCloseTo(3 * Math.sqrt(5), 6);
  const [[first, second]] = toNumbers(vt) as number[][];
  expect(first).toBeCloseTo(Math.SQRT1_2, 6);
  expect(second).toBeCloseTo(Math.SQRT1_2, 6);
  expect(u.shape).toEqual([2, 1]);
});

test("so does the large one", async () => {
  const update = matrixOf("normal", 100, 80, 1);
  const { u, singularValues, vt, errorBound } = await graphRandomizedSvd(update, { rank: 32 });
  expect([u.shape, singularValues.shape, vt.shape]).toEqual([[100, 32], [32], [32, 80]]);
  expect(errorBound).toBeGreaterThan(0);
});
