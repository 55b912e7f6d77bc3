import fc from "fast-check";
import { expect, test } from "vitest";
import { double, expectTwins, wasm } from "../test/twins.ts";
import type { Kernels } from "./index.ts";

const dtypes = { float32: 4, float16: 2, bfloat16: 2 } as const;

/** `numbers`, repeated to `count`, as codes of `dtype` at an odd address. */
function codesOf(kernels: Kernels, dtype: keyof typeof dtypes, numbers: readonly number[], count: number): Uint8Array {
  const values = kernels.allocateValues(count);
  for (let i = 0; i < count; i++) values[i] = numbers[i % numbers.length] * (1 - (i % 7) / 8);
  const codes = kernels.allocate(count * dtypes[dtype] + 1).subarray(1);
  kernels.store(dtype, codes, values);
  return codes;
}

function run(
  kernels: Kernels,
  dtype: keyof typeof dtypes,
  codes: Uint8Array,
  [rows, length]: readonly [number, number],
  { bits, blockSize, symmetric, half }: { bits: 2 | 4 | 8; blockSize: number; symmetric: boolean; half: boolean },
) {
  const blocks = rows * Math.ceil(length / blockSize);
  const packed = kernels.allocate((blocks * blockSize * bits) / 8).fill(0xaa);
  const scaleBytes = kernels.allocate(4 * blocks);
  const scales = new Float32Array(scaleBytes.buffer, scaleBytes.byteOffset, blocks);
  const zeroPoints = symmetric ? undefined : kernels.allocate(blocks);
  const noise = kernels.allocateValues(3);
  const coding = { bits, blockSize, float16Scales: half };
  const bad = kernels.quantizeBlocks({ packed, scales, zeroPoints }, dtype, codes, [rows, length], coding, noise);
  return { packed, scales, scaleBytes, zeroPoints: zeroPoints ?? new Uint8Array(0), noise, bad };
}

const ordinary = fc.oneof(
  fc.double({ min: -2, max: 2, noNaN: true }),
  fc.constantFrom(0, -0, 1e-40, -1e-44, 65504, -7e-6, 3e-8, -3e38, 2 ** -149),
);

test("quantizeBlocks equals its plain twin: every dtype, bits, partial blocks, tiny and huge weights", () => {
  fc.assert(
    fc.property(
      fc.constantFrom("float32" as const, "float16" as const, "bfloat16" as const),
      fc.array(fc.oneof({ weight: 30, arbitrary: ordinary }, { weight: 1, arbitrary: double }), {
        minLength: 1,
        maxLength: 40,
      }),
      fc.integer({ min: 1, max: 4 }),
      fc.integer({ min: 1, max: 150 }),
      fc.constantFrom(2 as const, 4 as const, 8 as const),
      fc.constantFrom(16, 32, 48, 64, 128, 256),
      fc.boolean(),
      fc.boolean(),
      (dtype, numbers, rows, length, bits, blockSize, symmetric, half) => {
        expectTwins((kernels) => {
          const codes = codesOf(kernels, dtype, numbers, rows * length);
          const settings = { bits, blockSize, symmetric, half: half && dtype === "float16" };
          const { packed, scaleBytes, zeroPoints, noise, bad } = run(kernels, dtype, codes, [rows, length], settings);
          // What is written before a bad row is nobody's business.
          return bad >= 0 ? [bad] : [packed, scaleBytes, zeroPoints, noise, bad];
        });
      },
    ),
    { numRuns: 800 },
  );
});

test("a worked block: peak -8 gives scale 1, codes are w + 8, the rest of the blob is 0", () => {
  const mark = wasm.mark();
  const codes = codesOf(wasm, "float32", [-8], 1);
  const settings = { bits: 4, blockSize: 16, symmetric: true, half: false } as const;
  const { packed, scales, noise, bad } = run(wasm, "float32", codes, [1, 1], settings);
  expect([...packed]).toEqual([0, 0, 0, 0, 0, 0, 0, 0]);
  expect([...scales]).toEqual([1]);
  expect([...noise]).toEqual([64, 0, 0]);
  expect(bad).toBe(-1);
  wasm.release(mark);
});

test("NaN and infinity are told by their row; wrong lengths are refused", () => {
  const mark = wasm.mark();
  const settings = { bits: 4, blockSize: 32, symmetric: false, half: false } as const;
  const codes = codesOf(wasm, "bfloat16", [1], 120);
  codes.set([0x80, 0x7f], 2 * 81);
  expect(run(wasm, "bfloat16", codes, [3, 40], settings).bad).toBe(2);
  expect(() => run(wasm, "bfloat16", codes.subarray(2), [3, 40], settings)).toThrow("wrong length");
  expect(() => run(wasm, "bfloat16", codes, [3, 40], { ...settings, blockSize: 20 })).toThrow("blockSize");
  wasm.release(mark);
});
