import { cast, fromData, type Tensor, toFloat32 } from "@loomweight/tensor";
import { expect, test } from "vitest";
import { quantizeBlocks, quantizeStream } from "./blocks.ts";
import { dequantizeBlocks } from "./dequantize.ts";
import { measureValues } from "./report.ts";

const [K, N] = [100, 37];

/** Columns [N, K] of a weight as stored in a checkpoint. */
function stored(dtype: "float32" | "float16" | "bfloat16"): Tensor {
  const values = Float32Array.from({ length: K * N }, (_, i) => Math.sin(i * 1.7) * (1 + (i % 11)));
  return cast(fromData("float32", values, [N, K]), dtype);
}

/** The bytes of the columns in parts of `size`, all in one buffer that the next part overwrites. */
async function* parts({ data }: Tensor, size: number): AsyncGenerator<Uint8Array> {
  const { buffer, byteOffset, byteLength } = data as Float32Array;
  const bytes = new Uint8Array(buffer, byteOffset, byteLength);
  const part = new Uint8Array(size);
  for (let at = 0; at < bytes.length; at += size) {
    const length = Math.min(size, bytes.length - at);
    part.set(bytes.subarray(at, at + length));
    yield part.subarray(0, length);
  }
}

for (const dtype of ["float32", "float16", "bfloat16"] as const) {
  test.each([1, 7, 200, 401, 1000, 2 ** 20])(
    `${dtype} columns in parts of %d bytes give the codes of the weight`,
    async (size) => {
      const rows = stored(dtype);
      const weight: Tensor = { ...rows, shape: [K, N], stride: [1, K] };
      for (const symmetric of [true, false]) {
        const scales = dtype === "float16" ? ("float16" as const) : ("float32" as const);
        const options = { K, N, bits: 4, blockSize: 32, symmetric, dtype, scales, name: "w", measured: true } as const;
        const { quantized, sqnr, largestError } = await quantizeStream(parts(rows, size), "columns", options);
        expect(quantized).toEqual(quantizeBlocks(weight, { symmetric }));
        const measured = measureValues(toFloat32(weight), toFloat32(dequantizeBlocks(quantized)));
        expect(sqnr).toBeCloseTo(measured.sqnr, 9);
        expect(largestError).toBe(measured.largestError);

        const byRows = await quantizeStream(parts(turned(rows), size), "rows", options);
        expect(byRows.quantized).toEqual(quantized);
        expect(byRows.sqnr).toBeCloseTo(sqnr, 9);
        expect(byRows.largestError).toBe(largestError);
      }
    },
  );
}

/** Columns [N, K] as rows [K, N]. */
function turned({ dtype, data, shape: [columns, length] }: Tensor): Tensor {
  const source = data as Float32Array;
  const out = source.slice();
  for (let n = 0; n < columns; n++) for (let k = 0; k < length; k++) out[k * columns + n] = source[n * length + k];
  return fromData(dtype, out, [length, columns]);
}

test("rows that fill several bands, the last one in part, are coded as the weight is", async () => {
  const [length, columns] = [203, 20011];
  const values = Float32Array.from({ length: length * columns }, (_, i) => Math.sin(i * 1.7) * (1 + (i % 11)));
  const weight = fromData("float32", values, [length, columns]);
  for (const bits of [2, 4, 8] as const) {
    const options = { K: length, N: columns, bits, blockSize: 16, dtype: "float32", scales: "float32" } as const;
    const settings = { ...options, symmetric: bits !== 4, name: "w" };
    const { quantized } = await quantizeStream(parts(weight, 2 ** 20), "rows", settings);
    const whole = quantizeBlocks(weight, { bits, blockSize: 16, symmetric: settings.symmetric });
    expect(Buffer.compare(quantized.packed.data, whole.packed.data)).toBe(0);
    // Compared as bytes: walking a quarter of a million numbers one by one takes seconds.
    const bytes = ({ data }: Tensor) => {
      const { buffer, byteOffset, byteLength } = data as Float32Array;
      return Buffer.from(buffer, byteOffset, byteLength);
    };
    expect(Buffer.compare(bytes(quantized.scales), bytes(whole.scales))).toBe(0);
    expect(quantized.zeroPoints === undefined).toBe(whole.zeroPoints === undefined);
    if (quantized.zeroPoints !== undefined && whole.zeroPoints !== undefined) {
      expect(Buffer.compare(bytes(quantized.zeroPoints), bytes(whole.zeroPoints))).toBe(0);
    }
  }
});

test("a weight of 134 MB that streams by rows is coded in 40 MB beside what comes of it", async () => {
  const [length, columns] = [4096, 8192];
  const row = Float32Array.from({ length: columns }, (_, i) => Math.sin(i));
  let largest = 0;
  async function* rows(): AsyncGenerator<Uint8Array> {
    for (let k = 0; k < length; k++) {
      if (k % 64 === 0) largest = Math.max(largest, process.memoryUsage().arrayBuffers);
      yield new Uint8Array(row.buffer);
    }
  }
  const before = process.memoryUsage().arrayBuffers;
  const options = { K: length, N: columns, bits: 4, blockSize: 32, dtype: "float32", scales: "float32" } as const;
  const { quantized } = await quantizeStream(rows(), "rows", { ...options, symmetric: true, name: "w" });
  const kept = quantized.packed.data.byteLength + 4 * quantized.scales.data.length;
  expect(largest - before - kept).toBeLessThan(40e6);
  expect(kept).toBeGreaterThan(20e6);
});

test("a weight whose columns lie apart is turned first, and is coded alike", () => {
  const rows = stored("float32");
  const apart = quantizeBlocks(turned(rows));
  expect(apart).toEqual(quantizeBlocks({ ...rows, shape: [K, N], stride: [1, K] }));
});

test("NaN in a stream is told with the tensor and its column", async () => {
  const rows = stored("float32");
  (rows.data as Float32Array)[20 * K + 3] = Number.NaN;
  const options = { K, N, bits: 4, blockSize: 32, symmetric: true, dtype: "float32", scales: "float32" } as const;
  await expect(quantizeStream(parts(rows, 999), "columns", { ...options, name: "w" })).rejects.toThrow(
    /"w".*column 20/s,
  );
});
