import { expect, test } from "vitest";
import { bytesOf, cast, format, slice, tensor, toNumbers, transpose } from "../src/index.ts";

test("the example of the README gives what it says", () => {
  const weight = tensor([
    [1, 2.005],
    [3, 4],
  ]);
  const half = cast(weight, "bfloat16");
  expect(toNumbers(half)).toEqual([
    [1, 2],
    [3, 4],
  ]);
  expect(format(transpose(half))).toBe("bfloat16 [2, 2]\n[[1, 3],\n [2, 4]]");
  expect(toNumbers(slice(half, [{ start: -1 }]))).toEqual([[3, 4]]);
  expect(bytesOf(half).length).toBe(8);
});
