import type { KernelFunctions } from "../kernels.ts";

/** Sums `term(i)` in the order of assembly/reduce.ts: eight lanes, then the rest one by one. */
function inLanes(n: number, term: (i: number) => number): number {
  const lanes = new Float64Array(8);
  const whole = n - (n % 8);
  for (let i = 0; i < whole; i++) lanes[i & 7] += term(i);
  const [s0, s1, s2, s3, s4, s5, s6, s7] = lanes;
  let total = s0 + s2 + (s4 + s6) + (s1 + s3 + (s5 + s7));
  for (let i = whole; i < n; i++) total += term(i);
  return total;
}

type Reductions = Pick<
  KernelFunctions,
  | "sum"
  | "sumAbs"
  | "dot"
  | "maxAbs"
  | "firstNonFinite"
  | "countNonZero"
  | "findMagnitude"
  | "countMagnitudes"
  | "countWords"
  | "findWord"
>;

/** The plain twins of assembly/reduce.ts. */
export const reductions: Reductions = {
  sum: (a) => inLanes(a.length, (i) => a[i]),
  sumAbs: (a) => inLanes(a.length, (i) => Math.abs(a[i])),
  dot: (a, b) => inLanes(a.length, (i) => a[i] * b[i]),
  maxAbs(a) {
    let largest = 0;
    for (let i = 0; i < a.length; i++) {
      const magnitude = Math.abs(a[i]);
      if (magnitude > largest) largest = magnitude;
    }
    return largest;
  },
  firstNonFinite: (a) => a.findIndex((x) => !Number.isFinite(x)),
  countNonZero(a) {
    let count = 0;
    for (let i = 0; i < a.length; i++) if (a[i] !== 0) count++;
    return count;
  },
  findMagnitude(a, magnitude, occurrence) {
    let seen = 0;
    for (let i = 0; i < a.length; i++) if (Math.abs(a[i]) === magnitude && ++seen === occurrence) return i;
    return -1 - seen;
  },
  countWords(counts, a, low) {
    const words = new Uint32Array(a.buffer, a.byteOffset, 2 * a.length);
    const width = counts.length / 3;
    let above = 0;
    for (let i = 0; i < a.length; i++) {
      const at = (words[2 * i + 1] & 0x7fffffff) - low;
      if (at >= width) above++;
      else if (at >= 0) {
        counts[3 * at]++;
        counts[3 * at + 1] |= words[2 * i];
        counts[3 * at + 2] |= ~words[2 * i];
      }
    }
    return above;
  },
  findWord(places, a, word) {
    const words = new Uint32Array(a.buffer, a.byteOffset, 2 * a.length);
    let found = 0;
    for (let i = 0; i < a.length; i++) if ((words[2 * i + 1] & 0x7fffffff) === word) places[found++] = i;
    return found;
  },
  countMagnitudes(counts, a, level, prefix) {
    const words = new Uint32Array(a.buffer, a.byteOffset, 2 * a.length);
    const upper = Number((prefix >> 32n) & 0xffffn);
    const middle = Number((prefix >> 16n) & 0xffffn);
    const lower = Number(prefix & 0xffffn);
    for (let i = 0; i < a.length; i++) {
      const high = words[2 * i + 1] & 0x7fffffff;
      const low = words[2 * i];
      const digits = [high >>> 16, high & 0xffff, low >>> 16, low & 0xffff];
      const matches =
        level === 0 ||
        (level === 1 && digits[0] === lower) ||
        (level === 2 && digits[0] === middle && digits[1] === lower) ||
        (level === 3 && digits[0] === upper && digits[1] === middle && digits[2] === lower);
      if (matches) counts[digits[level]]++;
    }
  },
};
