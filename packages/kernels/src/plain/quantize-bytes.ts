import type { CodedDType, KernelFunctions } from "../kernels.ts";
import { load } from "./casts.ts";
import { nearestFloat16 } from "./quantize.ts";

const { fround, abs, floor, min, max, trunc } = Math;

/** The plain twin of assembly/quantize-bytes.ts. */
export const quantizeBytes: Pick<
  KernelFunctions,
  "rangeRows" | "quantizeInt8" | "quantizeBlockBytes" | "quantizeLevels" | "transposeBytes"
> = {
  rangeRows(ranges, dtype, codes, shape) {
    return eachRow(dtype, codes, shape, (row, r) => {
      if (!row.every(Number.isFinite)) return false;
      for (const value of row) {
        if (value < ranges[2 * r]) ranges[2 * r] = value;
        if (value > ranges[2 * r + 1]) ranges[2 * r + 1] = value;
      }
      return true;
    });
  },
  quantizeInt8(out, dtype, codes, shape, { signed, scales, zeroPoints }, noise) {
    const [low, high] = signed ? [-128, 127] : [0, 255];
    const sums = noiseSums();
    eachRow(dtype, codes, shape, (row, r) => {
      const scale = scales[scales.length === 1 ? 0 : r];
      const zero = zeroPoints[scales.length === 1 ? 0 : r];
      for (let i = 0; i < row.length; i++) {
        const code = hold(fround(nearestEven(fround(row[i] / scale)) + zero), low, high);
        out[r * row.length + i] = code;
        sums.add(i, row[i], fround(fround(code - zero) * scale));
      }
      return true;
    });
    if (noise) sums.into(noise);
  },
  quantizeBlockBytes(out, dtype, codes, shape, { blockSize, rounding, float16Scales = false }, noise) {
    const { scales, zeroPoints } = out;
    const [low, high] = zeroPoints === undefined ? [-8, 7] : [0, 15];
    const round = float16Scales ? nearestFloat16 : fround;
    const even = rounding === "even";
    const sums = noiseSums();
    let index = 0;
    const bad = eachRow(dtype, codes, shape, (row, r) => {
      for (let from = 0; from < row.length; from += blockSize, index++) {
        const values = row.subarray(from, min(from + blockSize, row.length));
        if (!values.every(Number.isFinite)) return false;
        const least = values.reduce((a, b) => min(a, b), 0) + 0;
        const most = values.reduce((a, b) => max(a, b), 0);
        let zero = 0;
        let scale: number;
        if (zeroPoints === undefined) scale = round(fround((most > -least ? most : least) / -8));
        else {
          const step = fround(fround(most - least) / 15);
          scale = round(step);
          const exact = fround(-least / step);
          if (step === 0) zero = even ? 8 : 0;
          else zero = min(max(even ? nearestEven(exact) : floor(fround(exact + 0.5)), 0), 15);
          zeroPoints[index] = zero;
        }
        scales[index] = scale;
        const inverse = scale === 0 ? 0 : fround(1 / scale);
        const divisor = scale === 0 ? 1 : scale;
        for (let i = 0; i < values.length; i++) {
          const steps = even
            ? nearestEven(fround(fround(values[i] / divisor) + zero))
            : fround(nearestAway(fround(values[i] * inverse)) + zero);
          const code = hold(steps, low, high);
          out.codes[r * row.length + from + i] = code;
          sums.add(i, values[i], fround((code - zero) * scale));
        }
      }
      return true;
    });
    if (noise && bad < 0) sums.into(noise);
    return bad;
  },
  quantizeLevels({ packed, largest }, dtype, codes, count, { blockSize, bounds, order, levels }, noise) {
    const sums = noiseSums();
    const values = new Float64Array(count);
    load(values, dtype, codes);
    packed.fill(0);
    for (let from = 0, block = 0; from < count; from += blockSize, block++) {
      const part = values.subarray(from, min(from + blockSize, count));
      if (!part.every(Number.isFinite)) return block;
      const most = part.reduce((a, b) => max(a, abs(b)), 0);
      largest[block] = most;
      const inverse = most === 0 ? 0 : fround(1 / most);
      for (let i = 0; i < part.length; i++) {
        const x = hold(fround(inverse < Number.POSITIVE_INFINITY ? part[i] * inverse : part[i] / most), -1, 1);
        let rank = 0;
        while (rank < 15 && x > bounds[rank]) rank++;
        packed[(from + i) >> 1] |= order[rank] << (((from + i) & 1) === 0 ? 4 : 0);
        sums.add(i, part[i], fround(levels[rank] * most));
      }
    }
    if (noise) sums.into(noise);
    return -1;
  },
  transposeBytes(out, a, [rows, columns]) {
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++) out[column * rows + row] = a[row * columns + column];
    }
  },
};

/** Visits rows until one is refused, whose number is returned; else -1. */
function eachRow(
  dtype: CodedDType,
  codes: Uint8Array,
  [rows, length]: readonly [number, number],
  visit: (row: Float64Array, r: number) => boolean,
): number {
  const row = new Float64Array(length);
  const bytes = rows === 0 ? 0 : codes.length / rows;
  for (let r = 0; r < rows; r++) {
    load(row, dtype, codes.subarray(r * bytes, (r + 1) * bytes));
    if (!visit(row, r)) return r;
  }
  return -1;
}

/** Squares and squared errors in four lanes by position, as the vectors sum them. */
function noiseSums() {
  const [signal, errors] = [new Float64Array(4), new Float64Array(4)];
  let largest = 0;
  return {
    add(position: number, value: number, restored: number): void {
      const error = value - restored;
      signal[position & 3] += value * value;
      errors[position & 3] += error * error;
      if (abs(error) > largest) largest = abs(error);
    },
    into(noise: Float64Array): void {
      noise[0] += signal[0] + signal[2] + (signal[1] + signal[3]);
      noise[1] += errors[0] + errors[2] + (errors[1] + errors[3]);
      noise[2] = max(noise[2], largest);
    },
  };
}

/** Held within the bounds. */
function hold(x: number, low: number, high: number): number {
  const held = min(x, high);
  return max(held, low);
}

/** Half to even; a float32 from 2^23 on is whole. */
function nearestEven(x: number): number {
  if (!(abs(x) < 2 ** 23)) return x;
  const magic = 6755399441055744; // leaves no bits for a fraction
  return x + magic - magic;
}

/** Half away from zero; NaN, which an infinite inverse makes of 0, is 0. */
function nearestAway(x: number): number {
  if (Number.isNaN(x)) return 0;
  const whole = trunc(x);
  return abs(x - whole) >= 0.5 ? fround(whole + Math.sign(x)) : whole;
}
