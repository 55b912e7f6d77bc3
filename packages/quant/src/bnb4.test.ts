import { fromData } from "@loomweight/tensor";
import { expect, test } from "vitest";
import { bnb4Levels, dequantizeBnb4, quantizeBnb4 } from "./index.ts";

const example = [-1, 1, 0.5, -0.5, 0.25, -0.25, 0.1, -0.1, 0, 0.75, -0.75, 0.34, 0.6, 0.9, -0.35, 0.05];

test("worked example of the card", () => {
  const weight = fromData(
    "float32",
    Float32Array.from(example, (w) => 2 * w),
    [16, 1],
  );
  const { packed, absmax } = quantizeBnb4(weight, { blockSize: 16 });
  expect([...packed.data]).toEqual([15, 194, 164, 134, 126, 27, 223, 56]);
  expect([...absmax.data]).toEqual([2]);
});

test("the levels themselves survive, in both formats", () => {
  for (const quantType of ["nf4", "fp4"] as const) {
    const levels = Float32Array.from(bnb4Levels[quantType]);
    const quantized = quantizeBnb4(fromData("float32", levels, [16, 1]), { quantType, blockSize: 16 });
    expect([...dequantizeBnb4(quantized).data].map((x) => x + 0)).toEqual([...levels].map((x) => x + 0));
  }
});

test("NaN and infinity name the tensor", () => {
  for (const value of [Number.NaN, Number.POSITIVE_INFINITY]) {
    const weight = fromData("float32", Float32Array.of(1, value), [2, 1]);
    expect(() => quantizeBnb4(weight, {}, "fc.weight")).toThrow(/"fc.weight"/);
  }
});

test("zeros stay zeros beside values too small for an inverse", () => {
  const weight = fromData("float32", Float32Array.of(0, 1e-42, -1e-42, 0), [4, 1]);
  for (const quantType of ["nf4", "fp4"] as const) {
    const back = dequantizeBnb4(quantizeBnb4(weight, { quantType }));
    expect([...back.data].map((x) => x + 0)).toEqual([...weight.data]);
  }
});
