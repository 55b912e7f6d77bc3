import fc from "fast-check";
import { expect } from "vitest";
import { createKernels, type Kernels, plainKernels } from "../src/index.ts";

const bytes = 4 * 2 ** 20;
export const wasm: Kernels = createKernels({ bytes });
export const plain: Kernels = plainKernels({ bytes });

/** Bits of a float64 array with every NaN the same: kernels promise NaN, not its payload. */
export function bitsOf(values: Float64Array): BigUint64Array {
  return new BigUint64Array(values.map((x) => (Number.isNaN(x) ? Number.NaN : x)).slice().buffer);
}

/** Runs `body` on both kernel sets in fresh memory and expects the same bits. */
export function expectTwins(
  body: (kernels: Kernels) => readonly (Float64Array | Uint8Array | Uint32Array | number)[],
): void {
  const [first, second] = [wasm, plain].map((kernels) => {
    const mark = kernels.mark();
    try {
      return body(kernels).map((part) =>
        typeof part === "number"
          ? bitsOf(Float64Array.of(part))
          : part instanceof Float64Array
            ? bitsOf(part)
            : part.slice(),
      );
    } finally {
      kernels.release(mark);
    }
  });
  expect(first).toEqual(second);
}

export function values(kernels: Kernels, source: ArrayLike<number>): Float64Array {
  const block = kernels.allocateValues(source.length);
  block.set(source);
  return block;
}

/** A block of `count` bytes that starts `offset` bytes into an aligned one. */
export function misaligned(kernels: Kernels, count: number, offset: number): Uint8Array {
  return kernels.allocate(count + offset).subarray(offset);
}

/** Doubles of every kind: any bits, ordinary weights, exact codes of small floats and the points half-way between. */
export const double = fc.oneof(
  fc.double(),
  fc.double({ min: -2, max: 2 }),
  fc.constantFrom(
    0,
    -0,
    Number.NaN,
    Infinity,
    -Infinity,
    5e-324,
    -1e-310,
    1e-40,
    2 ** -149,
    2 ** -133,
    65519.99,
    65520,
    464,
    61440,
  ),
  fc.tuple(fc.integer({ min: 0, max: 0x1ffff }), fc.constantFrom(-1, 0, 1)).map(([code, nudge]) => {
    const float = new Float32Array(new Uint32Array([code << 15]).buffer)[0]; // bfloat16 codes and their mid-points
    return nudgeBits(float, nudge);
  }),
  fc.tuple(fc.integer({ min: -4200, max: 4200 }), fc.integer({ min: -30, max: 8 }), fc.constantFrom(-1, 0, 1)).map(
    ([steps, exponent, nudge]) => nudgeBits(steps * 2 ** exponent, nudge), // float16 and float8 ties
  ),
  fc.double({ min: -3e10, max: 3e10 }),
  fc.bigInt({ min: -(2n ** 64n), max: 2n ** 65n }).map(Number),
);

export function nudgeBits(x: number, nudge: number): number {
  const bits = new BigInt64Array(new Float64Array([x]).buffer);
  bits[0] += BigInt(nudge);
  return new Float64Array(bits.buffer)[0];
}

export const doubles = fc.array(double, { maxLength: 45 });
