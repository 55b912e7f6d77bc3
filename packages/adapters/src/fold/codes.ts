import type { KernelDType, Kernels } from "@loomweight/kernels";
import { byteLengthOf } from "@loomweight/tensor";

/** Elements that pass through the kernels' memory at once: 0.5 MB of float64. */
const blockElements = 65_536;

/** Values of codes and back, block by block through the memory of a kernel set; values that lie in it are not copied. */
export interface Codec {
  readonly kernels: Kernels;
  /** out[i] = value of codes[i]. */
  load(out: Float64Array, dtype: KernelDType, codes: Uint8Array): void;
  /** codes[i] = values[i] rounded once; the index of the first NaN or infinity among values or codes, -1: none. */
  store(dtype: KernelDType, codes: Uint8Array, values: Float64Array): number;
}

/** Magnitudes from which a dtype rounds to infinity or NaN. */
const overflow: Partial<Record<KernelDType, number>> = {
  float32: 2 ** 128 - 2 ** 103,
  bfloat16: 2 ** 128 - 2 ** 119,
  float16: 65_520,
  float8_e4m3fn: 464 + 2 ** -40, // 464 itself is a tie that rounds to 448
  float8_e5m2: 61_440,
};

/** A codec with its own block of the set's memory. */
export function createCodec(kernels: Kernels): Codec {
  const held = kernels.allocateValues(blockElements);
  const codes = kernels.allocate(blockElements * 8);
  return {
    kernels,
    load(out, dtype, bytes) {
      const isHeld = out.buffer === held.buffer;
      for (let start = 0; start < out.length; start += blockElements) {
        const count = Math.min(blockElements, out.length - start);
        const size = byteLengthOf(dtype, count);
        const offset = byteLengthOf(dtype, start);
        codes.set(bytes.subarray(offset, offset + size));
        const values = isHeld ? out.subarray(start, start + count) : held.subarray(0, count);
        kernels.load(values, dtype, codes.subarray(0, size));
        if (!isHeld) out.set(values, start);
      }
    },
    store(dtype, bytes, values) {
      const limit = overflow[dtype] ?? Number.POSITIVE_INFINITY;
      const isHeld = values.buffer === held.buffer;
      let first = -1;
      for (let start = 0; start < values.length; start += blockElements) {
        const count = Math.min(blockElements, values.length - start);
        const size = byteLengthOf(dtype, count);
        const source = values.subarray(start, start + count);
        const block = isHeld ? source : held.subarray(0, count);
        if (!isHeld) block.set(source);
        if (first < 0) {
          let bad = kernels.firstNonFinite(block);
          if (bad < 0 && kernels.maxAbs(block) >= limit) bad = block.findIndex((value) => Math.abs(value) >= limit);
          if (bad >= 0) first = start + bad;
        }
        kernels.store(dtype, codes.subarray(0, size), block);
        bytes.set(codes.subarray(0, size), byteLengthOf(dtype, start));
      }
      return first;
    },
  };
}
