import { cast, fromData, type Tensor, toFloat32 } from "@loomweight/tensor";
import { expect, test } from "vitest";
import { quantizeBlocks, quantizeColumns } from "./blocks.ts";
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
        const { quantized, sqnr, largestError } = await quantizeColumns(parts(rows, size), options);
        expect(quantized).toEqual(quantizeBlocks(weight, { symmetric }));
        const measured = measureValues(toFloat32(weight), toFloat32(dequantizeBlocks(quantized)));
        expect(sqnr).toBeCloseTo(measured.sqnr, 9);
        expect(largestError).toBe(measured.largestError);
      }
    },
  );
}

test("a weight whose columns lie apart is turned first, and is coded alike", () => {
  const rows = stored("float32");
  const turned = new Float32Array(K * N);
  for (let n = 0; n < N; n++) for (let k = 0; k < K; k++) turned[k * N + n] = rows.data[n * K + k] as number;
  const apart = quantizeBlocks(fromData("float32", turned, [K, N]));
  expect(apart).toEqual(quantizeBlocks({ ...rows, shape: [K, N], stride: [1, K] }));
});

test("NaN in a stream is told with the tensor and its column", async () => {
  const rows = stored("float32");
  (rows.data as Float32Array)[20 * K + 3] = Number.NaN;
  const options = { K, N, bits: 4, blockSize: 32, symmetric: true, dtype: "float32", scales: "float32" } as const;
  await expect(quantizeColumns(parts(rows, 999), { ...options, name: "w" })).rejects.toThrow(/"w".*column 20/s);
});
