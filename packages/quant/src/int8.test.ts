import { cast, fromData, type Tensor, toFloat32 } from "@loomweight/tensor";
import fc from "fast-check";
import { expect, test } from "vitest";
import { dequantizeInt8, type Int8Options, quantizeInt8 } from "./index.ts";
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
    const turned = { ...tensor, shape: [11, 15], stride: [1, 11] };
    for (const type of ["int8", "uint8"] as const) {
      for (const [symmetric, reduceRange] of [
        [true, false],
        [false, true],
      ]) {
        for (const [order, perColumn] of [
          ["elements", false],
          ["columns", false],
          ["columns", true],
        ] as const) {
          const whole = order === "columns" ? turned : tensor;
          const options = { type, symmetric, reduceRange, axis: perColumn ? 1 : undefined };
          const settings = {
            shape: whole.shape,
            dtype: "float32",
            order,
            perColumn,
            name: "w",
            measured: true,
          } as const;
          const { quantized, ...error } = await quantizeInt8Stream(parts, { ...settings, ...options });
          expect(quantized).toEqual(slowInt8(whole, options));
          const expected = measureValues(toFloat32(whole), dequantizeInt8(quantized, options.axis).data);
          expect(error.sqnr).toBeCloseTo(expected.sqnr, 9);
          expect(error.largestError).toBe(expected.largestError);
        }
      }
    }
  },
);

test("a matrix is coded alike however it lies in memory, and from every dtype", () => {
  const values = Float32Array.from({ length: 130 * 70 }, (_, i) => Math.sin(i * 1.7) * (1 + (i % 9)));
  const matrix = fromData("float32", values, [130, 70]);
  for (const dtype of ["float32", "float16", "bfloat16", "float64"] as const) {
    const cast32 = cast(matrix, dtype);
    const flipped = { ...cast32, shape: [70, 130], stride: [1, 70] };
    const gapped = { ...cast32, shape: [60, 30], stride: [140, 2], offset: 3 };
    for (const weight of [cast32, flipped, gapped]) {
      for (const axis of [undefined, 1]) {
        const exact = fromData("float32", toFloat32(weight), weight.shape);
        expect(quantizeInt8(weight, { axis })).toEqual(slowInt8(exact, { axis }));
      }
    }
  }
});

/** The loop over elements, which takes any axis of any tensor. */
function slowInt8(weight: Tensor, options: Int8Options) {
  const { shape } = weight;
  const values = fromData("float32", toFloat32(weight), [1, ...shape, 1]);
  const axis = options.axis === undefined ? 0 : options.axis + 1; // one channel, or those of a tensor of four axes
  const { data, scale, zeroPoint } = quantizeInt8(values, { ...options, axis });
  const scaleShape = options.axis === undefined ? [] : scale.shape;
  return {
    data: { ...data, shape, stride: fromData("uint8", new Uint8Array(data.data.length), shape).stride },
    scale: fromData("float32", scale.data, scaleShape),
    zeroPoint: fromData(zeroPoint.dtype, zeroPoint.data, scaleShape),
  };
}
