import type { KernelDType, Kernels } from "@loomweight/kernels";
import { byteLengthOf } from "@loomweight/tensor";

/** Elements that pass through the kernels' memory at once: 0.5 MB of float64. */
const blockElements = 65_536;

/** Values of codes and back, block by block through the memory of a kernel set. */
export interface Codec {
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
  const values = kernels.allocateValues(blockElements);
  const codes = kernels.allocate(blockElements * 8);
  return {
    load(out, dtype, bytes) {
      for (let start = 0; start < out.length; start += blockElements) {
        const count = Math.min(blockElements, out.length - start);
        const size = byteLengthOf(dtype, count);
        const offset = byteLengthOf(dtype, start);
        codes.set(bytes.subarray(offset, offset + size));
        kernels.load(values.subarray(0, count), dtype, codes.subarray(0, size));
        out.set(values.subarray(0, count), start);
      }
    },
    store(dtype, bytes, source) {
      const limit = overflow[dtype] ?? Number.POSITIVE_INFINITY;
      let first = -1;
      for (let start = 0; start < source.length; start += blockElements) {
        const count = Math.min(blockElements, source.length - start);
        const size = byteLengthOf(dtype, count);
        const block = values.subarray(0, count);
        block.set(source.subarray(start, start + count));
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
