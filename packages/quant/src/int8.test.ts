import { fromData, type Tensor } from "@loomweight/tensor";
import fc from "fast-check";
import { expect, test } from "vitest";
import { dequantizeInt8, quantizeInt8 } from "./index.ts";
import { quantizeInt8Stream } from "./int8.ts";
import { measureValues } from "./report.ts";

const example = fromData("float32", Float32Array.of(0.5, -1.27, 0.254, 0.1), [2, 2]);

test("worked example of the card: one scale, a scale a column, uint8", () => {
  const whole = quantizeInt8(example);
  expect([...whole.data.data]).toEqual([50, -127, 25, 10]);
  expect(whole.scale.data[0]).toBeCloseTo(0.01, 9);
  expect(whole.scale.shape).toEqual([]);
  const columns = quantizeInt8(example, { axis: 1 });
  expect([...columns.data.data]).toEqual([127, -127, 65, 10]);
  expect(columns.scale.data[0]).toBeCloseTo(0.00393701, 8);
  expect([...columns.zeroPoint.data]).toEqual([0, 0]);
  const unsigned = quantizeInt8(example, { type: "uint8" });
  expect([...unsigned.data.data]).toEqual([255, 0, 220, 197]);
  expect(unsigned.scale.data[0]).toBeCloseTo(0.00694118, 8);
  expect([...unsigned.zeroPoint.data]).toEqual([183]);
});

test("a zero tensor has scale 1 and codes 0, and decodes to 0", () => {
  for (const type of ["int8", "uint8"] as const) {
    const quantized = quantizeInt8(fromData("float32", new Float32Array(4), [2, 2]), { type, axis: 0 });
    expect([...quantized.scale.data]).toEqual([1, 1]);
    expect([...dequantizeInt8(quantized, 0).data]).toEqual([0, 0, 0, 0]);
  }
});

test("every value is at most a step off, and zero is exact, in every form", () => {
  const anyOptions = fc.record({
    type: fc.constantFrom("int8" as const, "uint8" as const),
    axis: fc.constantFrom(undefined, 0, 1, -1),
    symmetric: fc.boolean(),
    reduceRange: fc.boolean(),
  });
  const anyMatrix = fc.array(fc.double({ min: -3, max: 3, noNaN: true }), { minLength: 12, maxLength: 12 });
  fc.assert(
    fc.property(anyMatrix, anyOptions, (values, options) => {
      const weight: Tensor<"float32"> = fromData("float32", Float32Array.from([0, ...values.slice(1)]), [3, 4]);
      const quantized = quantizeInt8(weight, options);
      const back = dequantizeInt8(quantized, options.axis);
      const largest = Math.max(...quantized.scale.data);
      expect(back.data[0]).toBe(0);
      for (let i = 0; i < 12; i++) {
        // an exact zero point takes up to half a step off the range
        if (largest < 1) expect(Math.abs(back.data[i] - weight.data[i])).toBeLessThanOrEqual(largest * 1.0001);
      }
    }),
  );
});

test("NaN names the tensor", () => {
  const weight = fromData("float32", Float32Array.of(1, Number.NaN), [2]);
  expect(() => quantizeInt8(weight, {}, "conv1.weight")).toThrow(/"conv1.weight".*NaN/);
});

test.each([1, 3, 50, 4096])(
  "a stream in parts of %d bytes gives the codes of the tensor, and their error",
  async (size) => {
    const values = Float32Array.from({ length: 15 * 11 }, (_, i) => Math.sin(i * 2.3) * (1 + (i % 5)));
    const tensor = fromData("float32", values, [15, 11]);
    const bytes = new Uint8Array(values.buffer);
    async function* parts() {
      const part = new Uint8Array(size); // overwritten by the next one
      for (let at = 0; at < bytes.length; at += size) {
        const length = Math.min(size, bytes.length - at);
        part.set(bytes.subarray(at, at + length));
        yield part.subarray(0, length);
      }
    }
    for (const type of ["int8", "uint8"] as const) {
      for (const [symmetric, reduceRange] of [
        [true, false],
        [false, true],
      ]) {
        const options = { type, symmetric, reduceRange };
        const { quantized, ...error } = await quantizeInt8Stream({ shape: [15, 11], bytes: parts }, options, "w", true);
        expect(quantized).toEqual(quantizeInt8(tensor, options));
        expect(error).toEqual(measureValues(values, dequantizeInt8(quantized).data));
      }
    }
  },
);
