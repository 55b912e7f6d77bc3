import { fromData } from "@loomweight/tensor";
import { expect, test } from "vitest";
import { toFloat16Clamped } from "./index.ts";

test("tiny values keep their sign and do not vanish, large ones stay finite, infinity and NaN stay", () => {
  const values = [1e-30, -1e-30, 0, -0, 65520, -1e10, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 1];
  const { data } = toFloat16Clamped(fromData("float32", Float32Array.from(values), [9]));
  expect([...data]).toEqual([0x0001, 0x8001, 0, 0x8000, 0x7bff, 0xfbff, 0x7c00, 0xfc00, 0x3c00]);
  const nan = toFloat16Clamped(fromData("float32", Float32Array.of(Number.NaN), [1])).data[0];
  expect(nan & 0x7fff).toBeGreaterThan(0x7c00);
});
