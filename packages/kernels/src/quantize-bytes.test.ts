import fc from "fast-check";
import { expect, test } from "vitest";
import { expectTwins, wasm } from "../test/twins.ts";
import type { CodedDType, Kernels } from "./index.ts";

const sizes = { float32: 4, float16: 2, bfloat16: 2 } as const;

/** `numbers`, repeated to `count`, as codes of `dtype` at an odd address. */
function codesOf(kernels: Kernels, dtype: CodedDType, numbers: readonly number[], count: number): Uint8Array {
  const values = kernels.allocateValues(count);
  for (let i = 0; i < count; i++) values[i] = numbers[i % numbers.length] * (1 - (i % 7) / 8);
  const codes = kernels.allocate(count * sizes[dtype] + 1).subarray(1);
  kernels.store(dtype, codes, values);
  return codes;
}

function floats(kernels: Kernels, numbers: ArrayLike<number>): Float32Array {
  const block = kernels.allocate(4 * numbers.length);
  const out = new Float32Array(block.buffer, block.byteOffset, numbers.length);
  out.set(numbers);
  return out;
}

const bytesOf = ({ buffer, byteOffset, byteLength }: Float32Array) => new Uint8Array(buffer, byteOffset, byteLength);

const dtype = fc.constantFrom<CodedDType>("float32", "float16", "bfloat16");
const finite = fc.oneof(
  fc.double({ min: -2, max: 2, noNaN: true }),
  fc.constantFrom(0, -0, 0.5, -1.5, 1e-40, -1e-44, 65504, -7e-6, 3e-8, 2 ** -149),
);
const numbers = fc.array(finite, { minLength: 1, maxLength: 40 });
const broken = fc.array(
  fc.oneof(
    { weight: 40, arbitrary: finite },
    { weight: 1, arbitrary: fc.constantFrom(Number.NaN, Number.POSITIVE_INFINITY) },
  ),
  { minLength: 1, maxLength: 40 },
);
const rows = fc.integer({ min: 1, max: 4 });
const length = fc.oneof(fc.integer({ min: 1, max: 150 }), fc.constantFrom(1023, 1024, 1040, 2500));
const blockSize = fc.constantFrom(16, 32, 48, 64, 128, 256);

test("rangeRows equals its plain twin, part after part", () => {
  fc.assert(
    fc.property(dtype, broken, rows, length, (type, values, count, size) => {
      expectTwins((kernels) => {
        const ranges = floats(
          kernels,
          Array.from({ length: 2 * count }, (_, i) => [-0.25, 0.5, 0, 0][i % 4]),
        );
        const codes = codesOf(kernels, type, values, count * size);
        const bad = kernels.rangeRows(ranges, type, codes, [count, size]);
        return [bytesOf(ranges), bad];
      });
    }),
    { numRuns: 300 },
  );
});

test("quantizeInt8 equals its plain twin: one scale and a scale a row, signed and unsigned", () => {
  fc.assert(
    fc.property(dtype, numbers, rows, length, fc.boolean(), fc.boolean(), (type, values, count, size, signed, each) => {
      expectTwins((kernels) => {
        const codes = codesOf(kernels, type, values, count * size);
        const entries = each ? count : 1;
        const scales = floats(
          kernels,
          Array.from({ length: entries }, (_, i) => [0.0157, 1, 3e-5, 200][i % 4]),
        );
        const zeroPoints = floats(
          kernels,
          Array.from({ length: entries }, (_, i) => (signed ? [0, -3, 5, 0] : [128, 0, 255, 7])[i % 4]),
        );
        const out = kernels.allocate(count * size);
        const noise = kernels.allocateValues(3);
        kernels.quantizeInt8(out, type, codes, [count, size], { signed, scales, zeroPoints }, noise);
        return [out, noise];
      });
    }),
    { numRuns: 300 },
  );
});

test("quantizeBlockBytes equals its plain twin: both roundings, partial blocks, tiny weights, NaN", () => {
  const rounding = fc.constantFrom("away" as const, "even" as const);
  const inputs = [dtype, broken, rows, length, blockSize, rounding, fc.boolean()] as const;
  fc.assert(
    fc.property(...inputs, (type, values, count, size, block, how, symmetric) => {
      expectTwins((kernels) => {
        const codes = codesOf(kernels, type, values, count * size);
        const blocks = count * Math.ceil(size / block);
        const out = {
          codes: kernels.allocate(count * size),
          scales: floats(kernels, new Float32Array(blocks)),
          zeroPoints: symmetric ? undefined : kernels.allocate(blocks),
        };
        const noise = kernels.allocateValues(3);
        const options = { blockSize: block, rounding: how, float16Scales: type === "float16" };
        const bad = kernels.quantizeBlockBytes(out, type, codes, [count, size], options, noise);
        if (bad >= 0) return [bad]; // what is written before a bad row is nobody's business
        return [out.codes, bytesOf(out.scales), out.zeroPoints ?? new Uint8Array(0), noise, bad];
      });
    }),
    { numRuns: 500 },
  );
});

test("quantizeLevels equals its plain twin: odd counts, tiny weights, NaN", () => {
  const levels = Float32Array.from({ length: 16 }, (_, i) => (i - 7) / 8);
  fc.assert(
    fc.property(dtype, broken, length, blockSize, (type, values, count, block) => {
      expectTwins((kernels) => {
        const codes = codesOf(kernels, type, values, count);
        const order = kernels.allocate(16);
        for (let i = 0; i < 16; i++) order[i] = (5 * i) % 16;
        const table = {
          blockSize: block,
          bounds: floats(
            kernels,
            levels.subarray(0, 15).map((level) => level + 1 / 16),
          ),
          order,
          levels: floats(kernels, levels),
        };
        const out = {
          packed: kernels.allocate(Math.ceil(count / 2)),
          largest: floats(kernels, new Float32Array(Math.ceil(count / block))),
        };
        const noise = kernels.allocateValues(3);
        const bad = kernels.quantizeLevels(out, type, codes, count, table, noise);
        return bad >= 0 ? [bad] : [out.packed, bytesOf(out.largest), noise, bad];
      });
    }),
    { numRuns: 300 },
  );
});

test("transposeBytes equals its plain twin, whatever is left over at the edges", () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 40 }), fc.integer({ min: 0, max: 70 }), (height, width) => {
      expectTwins((kernels) => {
        const a = kernels.allocate(height * width);
        for (let i = 0; i < a.length; i++) a[i] = (i * 31) >> 2;
        const out = kernels.allocate(height * width);
        kernels.transposeBytes(out, a, [height, width]);
        return [out];
      });
    }),
  );
});

test("worked codes: halves go to the even one in 8 bits and for tables, away from zero for DequantizeLinear", () => {
  const mark = wasm.mark();
  const codes = codesOf(wasm, "float32", [0], 4);
  new DataView(codes.buffer, codes.byteOffset).setFloat32(0, 0.5, true);
  new DataView(codes.buffer, codes.byteOffset).setFloat32(4, 1.5, true);
  new DataView(codes.buffer, codes.byteOffset).setFloat32(8, -2.5, true);
  new DataView(codes.buffer, codes.byteOffset).setFloat32(12, -8, true);
  const out = wasm.allocate(4);
  const one = { signed: true, scales: floats(wasm, [1]), zeroPoints: floats(wasm, [0]) };
  wasm.quantizeInt8(out, "float32", codes, [1, 4], one);
  expect([...new Int8Array(out.buffer, out.byteOffset, 4)]).toEqual([0, 2, -2, -8]);
  const blocks = { codes: out, scales: floats(wasm, [0]) };
  wasm.quantizeBlockBytes(blocks, "float32", codes, [1, 4], { blockSize: 16, rounding: "away" });
  expect([...new Int8Array(out.buffer, out.byteOffset, 4)]).toEqual([1, 2, -3, -8]);
  wasm.quantizeBlockBytes(blocks, "float32", codes, [1, 4], { blockSize: 16, rounding: "even" });
  expect([...new Int8Array(out.buffer, out.byteOffset, 4)]).toEqual([0, 2, -2, -8]);
  expect(() => wasm.transposeBytes(out, out.subarray(1), [2, 2])).toThrow("wrong length");
  wasm.release(mark);
});
