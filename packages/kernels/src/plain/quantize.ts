import type { KernelFunctions } from "../kernels.ts";
import { load } from "./casts.ts";

/** The plain twin of assembly/quantize.ts. */
export const quantize: Pick<KernelFunctions, "quantizeBlocks"> = {
  quantizeBlocks(out, dtype, codes, shape, { bits, blockSize, float16Scales = false }, noise) {
    const { packed, scales, zeroPoints } = out;
    const [rows, length] = shape;
    const half = 2 ** (bits - 1);
    const top = 2 ** bits - 1;
    const blob = (blockSize * bits) / 8;
    const row = new Float64Array(length);
    const rowBytes = rows === 0 ? 0 : codes.length / rows;
    const round = float16Scales ? nearestFloat16 : Math.fround;
    const { fround, abs, floor, min, max } = Math;
    // Squares are summed in four lanes, by the position in the block; blocks with infinite inverses in a fifth.
    const [signal, errors] = [new Float64Array(5), new Float64Array(5)];
    let largest = 0;
    packed.fill(0);
    for (let r = 0, index = 0; r < rows; r++) {
      load(row, dtype, codes.subarray(r * rowBytes, (r + 1) * rowBytes));
      for (let from = 0; from < length; from += blockSize, index++) {
        const values = row.subarray(from, min(from + blockSize, length));
        if (!values.every(Number.isFinite)) return r;
        const low = values.reduce((a, b) => min(a, b), 0) + 0;
        const high = values.reduce((a, b) => max(a, b), 0);
        let zero = half;
        let scale: number;
        if (zeroPoints === undefined) scale = round(fround((high > -low ? high : low) / -half));
        else {
          const step = fround(fround(high - low) / top);
          scale = round(step);
          zero = step === 0 ? 0 : min(max(floor(fround(fround(-low / step) + 0.5)), 0), top);
          zeroPoints[index] = zero;
        }
        scales[index] = scale;
        const inverse = scale === 0 ? 0 : fround(1 / scale);
        const far = abs(inverse) === Number.POSITIVE_INFINITY;
        for (let i = 0; i < values.length; i++) {
          const value = values[i];
          const scaled = fround(fround(value * inverse) + fround(zero + 0.5));
          const code = far ? farCode(value, inverse, zero, top) : min(max(Math.trunc(scaled), 0), top);
          const bit = i * bits;
          packed[index * blob + (bit >> 3)] |= code << (bit & 7);
          if (noise === undefined) continue;
          const error = value - fround((code - zero) * scale);
          const lane = far ? 4 : i & 3;
          signal[lane] += value * value;
          errors[lane] += error * error;
          if (abs(error) > largest) largest = abs(error);
        }
      }
    }
    if (noise !== undefined) {
      noise[0] += signal[0] + signal[2] + (signal[1] + signal[3]) + signal[4];
      noise[1] += errors[0] + errors[2] + (errors[1] + errors[3]) + errors[4];
      noise[2] = max(noise[2], largest);
    }
    return -1;
  },
};

/** Where an inverse is infinite, zeros, for which 0 · ∞ says nothing, take the zero point. */
function farCode(value: number, inverse: number, zero: number, top: number): number {
  if (value === 0) return zero;
  return value > 0 === inverse > 0 ? top : 0;
}

/** The float16 nearest to `x`, ties to even, as a number; infinity from 65520 on. */
export function nearestFloat16(x: number): number {
  const size = Math.abs(x);
  if (size >= 65520) return x > 0 ? Number.POSITIVE_INFINITY : Number.NEGATIVE_INFINITY;
  // Where log2 reaches the next power early, x rounds up to that power anyway.
  const quantum = size < 2 ** -14 ? 2 ** -24 : 2 ** (Math.floor(Math.log2(size)) - 10);
  const magic = 6755399441055744; // leaves no bits for a fraction
  return (x / quantum + magic - magic) * quantum;
}
