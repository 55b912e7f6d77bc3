import { fromData, LoomweightError, type Tensor, tensor } from "@loomweight/tensor";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type BlockBits, dequantizeBlocks, quantizeBlocks } from "./index.ts";
import { codeAt } from "./packing.ts";

const column0 = [-0.8, 0.7, 0.6, -0.5, 0.4, -0.3, 0.2, -0.1, 0, 0.1, -0.2, 0.3, -0.4, 0.5, -0.6, 0.7];
const column1 = Array.from({ length: 16 }, (_, i) => i / 10);
/** [16, 2], stored [2, 16]. */
const example = asColumns([column0, column1]);

/** A weight [K, N] from its columns. */
function asColumns(columns: readonly (readonly number[])[]): Tensor<"float32"> {
  const K = columns[0].length;
  const rows = fromData("float32", Float32Array.from(columns.flat()), [columns.length, K]);
  return { ...rows, shape: [K, columns.length], stride: [1, K] };
}

/** The same weight, stored row-major [K, N]. */
function rowMajor(weight: Tensor<"float32">): Tensor<"float32"> {
  const [K, N] = weight.shape;
  const data = Float32Array.from({ length: K * N }, (_, i) => weight.data[(i % N) * K + Math.floor(i / N)]);
  return fromData("float32", data, [K, N]);
}

describe("worked example of the card", () => {
  test("4 bits symmetric", () => {
    const { packed, scales, zeroPoints } = quantizeBlocks(example, { blockSize: 16 });
    expect([...packed.data]).toEqual([240, 62, 92, 122, 152, 182, 212, 242, 120, 103, 86, 69, 52, 35, 18, 1]);
    expect([...scales.data]).toEqual([Math.fround(0.1), -0.1875]);
    expect(zeroPoints).toBeUndefined();
  });
  test("4 bits asymmetric", () => {
    const { packed, scales, zeroPoints } = quantizeBlocks(example, { blockSize: 16, symmetric: false });
    expect([...packed.data]).toEqual([240, 62, 92, 122, 152, 182, 212, 242, 16, 50, 84, 118, 152, 186, 220, 254]);
    expect([...scales.data]).toEqual([Math.fround(0.1), Math.fround(0.1)]);
    expect([...(zeroPoints?.data ?? [])]).toEqual([136, 128]);
  });
  test("2 bits", () => {
    const one = asColumns([column0]);
    const symmetric = quantizeBlocks(one, { blockSize: 16, bits: 2 });
    expect([...symmetric.packed.data]).toEqual([124, 183, 234, 221]);
    expect([...symmetric.scales.data]).toEqual([Math.fround(0.4)]);
    const asymmetric = quantizeBlocks(one, { blockSize: 16, bits: 2, symmetric: false });
    expect([...asymmetric.packed.data]).toEqual([124, 167, 234, 221]);
    expect([...asymmetric.scales.data]).toEqual([0.5]);
    expect([...(asymmetric.zeroPoints?.data ?? [])]).toEqual([170]);
  });
  test("0.1 decodes to 0.1875 in the second symmetric column", () => {
    const back = dequantizeBlocks(quantizeBlocks(example, { blockSize: 16 }));
    expect(back.shape).toEqual([16, 2]);
    expect(back.data[16 + 1]).toBe(0.1875);
  });
});

const anyBits = fc.constantFrom<BlockBits>(2, 4, 8);
const anyWeight = fc
  .record({ K: fc.integer({ min: 1, max: 70 }), N: fc.integer({ min: 1, max: 4 }) })
  .chain(({ K, N }) =>
    fc
      .array(fc.double({ min: -3, max: 3, noNaN: true }), { minLength: K * N, maxLength: K * N })
      .map((values) => asColumns(Array.from({ length: N }, (_, n) => values.slice(n * K, (n + 1) * K)))),
  );

test("a weight gives the same bytes however it is stored", () => {
  fc.assert(
    fc.property(anyWeight, anyBits, fc.boolean(), (weight, bits, symmetric) => {
      const options = { bits, symmetric, blockSize: 16 };
      expect(quantizeBlocks(rowMajor(weight), options)).toEqual(quantizeBlocks(weight, options));
    }),
  );
});

test("asymmetric codes are at most a step off (half, but for the rounded zero point), and zero is exact", () => {
  fc.assert(
    fc.property(anyWeight, anyBits, (weight, bits) => {
      const [K, N] = weight.shape;
      weight.data[0] = 0;
      const quantized = quantizeBlocks(weight, { bits, blockSize: 16, symmetric: false });
      const back = dequantizeBlocks(quantized);
      const blocks = Math.ceil(K / 16);
      for (let i = 0; i < K * N; i++) {
        const scale = quantized.scales.data[Math.floor(i / K) * blocks + Math.floor((i % K) / 16)];
        expect(Math.abs(weight.data[i] - back.data[i])).toBeLessThanOrEqual(scale < 1e-30 ? 1e-28 : scale * 1.0001);
        if (weight.data[i] === 0) expect(back.data[i] + 0).toBe(0);
      }
    }),
  );
});

test("symmetric codes hold the peak exactly and are at most half a step off where they are not clipped", () => {
  fc.assert(
    fc.property(anyWeight, anyBits, (weight, bits) => {
      const [K, N] = weight.shape;
      const quantized = quantizeBlocks(weight, { bits, blockSize: 16 });
      const back = dequantizeBlocks(quantized);
      const blocks = Math.ceil(K / 16);
      const half = 2 ** (bits - 1);
      for (let n = 0; n < N; n++) {
        for (let block = 0; block < blocks; block++) {
          const scale = quantized.scales.data[n * blocks + block];
          if (Math.abs(scale) < 1e-30) continue; // subnormal steps have few bits
          const size = Math.abs(scale);
          let peak = 0;
          let peakError = 0;
          for (let k = block * 16; k < Math.min(K, block * 16 + 16); k++) {
            const w = weight.data[n * K + k];
            const error = Math.abs(w - back.data[n * K + k]);
            if (Math.abs(w) > peak) [peak, peakError] = [Math.abs(w), error];
            const clipped = -w * Math.sign(scale) < 0 && Math.abs(w) > (half - 0.5) * size;
            expect(error).toBeLessThanOrEqual((clipped ? 1 : 0.5) * size * 1.0001);
          }
          expect(peakError).toBeLessThanOrEqual(peak * 1e-6 + (clippedPeak(weight, n, block, K) ? size : 0));
        }
      }
    }),
  );
});

/** Whether the largest magnitude of a block occurs with both signs: then the positive one is clipped. */
function clippedPeak(weight: Tensor<"float32">, n: number, block: number, K: number): boolean {
  const values = [...weight.data.subarray(n * K + block * 16, n * K + Math.min(K, block * 16 + 16))];
  return Math.max(...values) === -Math.min(...values);
}

test("scaling a weight by a power of two scales its scales and keeps its codes", () => {
  fc.assert(
    fc.property(anyWeight, anyBits, fc.boolean(), fc.integer({ min: -8, max: 8 }), (weight, bits, symmetric, power) => {
      const small = weight.data.some((w) => w !== 0 && Math.abs(w) < 1e-30);
      fc.pre(!small);
      const options = { bits, symmetric, blockSize: 16 };
      const scaled = { ...weight, data: weight.data.map((w) => w * 2 ** power) };
      const [a, b] = [quantizeBlocks(weight, options), quantizeBlocks(scaled, options)];
      expect(b.packed).toEqual(a.packed);
      expect(b.zeroPoints).toEqual(a.zeroPoints);
      expect([...b.scales.data]).toEqual([...a.scales.data].map((scale) => scale * 2 ** power));
    }),
  );
});

test("padding is clean: zero codes beyond K, zero points beyond the last block in the middle", () => {
  const { packed, zeroPoints } = quantizeBlocks(asColumns([column0.slice(0, 5)]), {
    blockSize: 16,
    symmetric: false,
  });
  for (let k = 5; k < 16; k++) expect(codeAt(packed.data, 0, k, 4)).toBe(0);
  expect((zeroPoints?.data[0] as number) >> 4).toBe(8);
});

test("bfloat16 and float64 weights are coded as their float32 values; float16 weights get float16 scales", () => {
  const half = fromData("bfloat16", Uint16Array.from([0x3f80, 0xbf00, 0x3e80]), [3, 1]);
  const double = fromData("float64", Float64Array.of(1, -0.5, 0.25), [3, 1]);
  const single = tensor([[1], [-0.5], [0.25]]);
  const wanted = quantizeBlocks(fromData("float32", Float32Array.of(1, -0.5, 0.25), [3, 1]));
  expect(quantizeBlocks(half)).toEqual(wanted);
  expect(quantizeBlocks(double)).toEqual(wanted);
  expect(quantizeBlocks(single)).toEqual(wanted);
  const float16 = quantizeBlocks(fromData("float16", Uint16Array.from([0x3c00, 0xb800, 0x3400]), [3, 1]));
  expect(float16.scales.dtype).toBe("float16");
  expect([...float16.scales.data]).toEqual([0xb000]); // -1/8
});

describe("bad input", () => {
  const code = (run: () => unknown): [string, string] => {
    try {
      run();
    } catch (error) {
      if (error instanceof LoomweightError) return [error.code, error.message];
      throw error;
    }
    throw new Error("nothing was thrown");
  };
  test.each([
    ["bits 3", { bits: 3 as 4 }, "bits"],
    ["block size 17", { blockSize: 17 }, "blockSize"],
    ["block size 512", { blockSize: 512 }, "blockSize"],
    ["symmetric as text", { symmetric: "yes" as unknown as boolean }, "symmetric"],
  ])("%s is refused by name", (_, options, option) => {
    const [found, message] = code(() => quantizeBlocks(example, options));
    expect(found).toBe("INVALID_OPTION");
    expect(message).toContain(option);
  });
  test.each([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])("%s names the tensor", (value) => {
    const weight = asColumns([column0, [...column1.slice(0, 15), value]]);
    for (const symmetric of [true, false]) {
      const [found, message] = code(() => quantizeBlocks(weight, { symmetric }, "model.layers.0.mlp.up_proj.weight"));
      expect(found).toBe("NON_FINITE_WEIGHT");
      expect(message).toContain("model.layers.0.mlp.up_proj.weight");
      expect(message).toContain("column 1");
    }
  });
  test("weights that are no float matrix are refused", () => {
    expect(code(() => quantizeBlocks(fromData("int32", new Int32Array(4), [2, 2])))[0]).toBe("UNSUPPORTED_DTYPE");
    expect(code(() => quantizeBlocks(fromData("float32", new Float32Array(4), [4])))[0]).toBe("SHAPE_MISMATCH");
    expect(code(() => quantizeBlocks(fromData("float32", new Float32Array(0), [0, 4])))[0]).toBe("EMPTY_TENSOR");
  });
});
