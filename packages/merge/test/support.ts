import { createKernels, type KernelDType, type Kernels } from "@loomweight/kernels";
import { contiguousData, elementCount, fromData, type OptionSpecs, type Tensor } from "@loomweight/tensor";
import fc from "fast-check";
import { expect } from "vitest";
import type { MergeMethod, MergeNeeds } from "../src/define.ts";
import { type MergeModels, type MergeOptions, merge } from "../src/merge.ts";

let shared: Kernels | undefined;

/** One set of kernels for all tests of a file: hundreds of property cases share it. */
export function testKernels(): Kernels {
  shared ??= createKernels({ bytes: 64 * 2 ** 20 });
  return shared;
}

/** A float64 tensor of one axis, or of `shape`. */
export function values(numbers: readonly number[], shape: readonly number[] = [numbers.length]): Tensor<"float64"> {
  return fromData("float64", Float64Array.from(numbers), shape);
}

/** `merge` of single tensors on the shared kernels. */
export function runMerge<I extends OptionSpecs, O extends OptionSpecs, N extends MergeNeeds>(
  method: MergeMethod<I, O, N>,
  models: MergeModels<Tensor>,
  options: MergeOptions<I, O> = {} as MergeOptions<I, O>,
): Promise<Tensor> {
  return merge(method, models, { kernels: testKernels(), ...options });
}

/** The values of a tensor, whatever its dtype. */
export function numbersOf(tensor: Tensor): Float64Array {
  const data = contiguousData(tensor) as unknown as ArrayBufferView;
  const size = elementCount(tensor.shape);
  const kernels = testKernels();
  const mark = kernels.mark();
  try {
    const codes = kernels.allocate(data.byteLength);
    codes.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
    const loaded = kernels.allocateValues(size);
    kernels.load(loaded, tensor.dtype as KernelDType, codes);
    return loaded.slice();
  } finally {
    kernels.release(mark);
  }
}

/** Every entry within `tolerance`, absolute and relative. */
export function expectClose(found: Tensor, expected: Tensor | readonly number[], tolerance = 1e-10): void {
  const [a, b] = [numbersOf(found), Array.isArray(expected) ? expected : numbersOf(expected as Tensor)];
  expect(a.length).toBe(b.length);
  for (let i = 0; i < a.length; i++) {
    const allowed = tolerance * Math.max(1, Math.abs(b[i]));
    if (!(Math.abs(a[i] - b[i]) <= allowed)) expect.fail(`entry ${i}: found ${a[i]}, expected ${b[i]} ± ${allowed}`);
  }
}

/** Bit-equal values. */
export function expectSame(found: Tensor, expected: Tensor): void {
  expect([...numbersOf(found)]).toEqual([...numbersOf(expected)]);
}

export const anyNumber = (): fc.Arbitrary<number> => fc.integer({ min: -4000, max: 4000 }).map((n) => n / 1000);

/** `count` tensors of one random shape with values of size 1. */
export function anyTensors(count: number): fc.Arbitrary<Tensor<"float64">[]> {
  return fc.tuple(fc.integer({ min: 1, max: 5 }), fc.integer({ min: 1, max: 7 })).chain(([rows, columns]) =>
    fc.array(
      fc
        .array(anyNumber(), { minLength: rows * columns, maxLength: rows * columns })
        .map((numbers) => values(numbers, [rows, columns])),
      { minLength: count, maxLength: count },
    ),
  );
}
