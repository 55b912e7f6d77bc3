// Adding and taking away 1.5 * 2^52 leaves no bits for a fraction: the sum is rounded half to even by the addition.
const integerStep = 6755399441055744;

/** Rounds half to even (numpy's rint, ONNX's Round), for |x| < 2^51. */
export function roundHalfToEven(x: number): number {
  return x + integerStep - integerStep;
}

/** Rounds to the nearest whole number, halves away from zero (C's round), for |x| < 2^51. */
export function roundHalfAwayFromZero(x: number): number {
  return x < 0 ? -Math.floor(0.5 - x) : Math.floor(x + 0.5);
}

/** `value` limited to [low, high]; NaN gives `low`. */
export function clamp(value: number, low: number, high: number): number {
  return value > low ? Math.min(value, high) : low;
}

/** The float16 nearest to `x` (ties to even), as a number; beyond 65504 as IEEE: infinity from 65520 on. */
export function roundToFloat16(x: number): number {
  const size = Math.abs(x);
  if (!(size < 65520)) return x > 0 ? Number.POSITIVE_INFINITY : x < 0 ? Number.NEGATIVE_INFINITY : x;
  // log2 may reach the next power early only where x rounds up to that power anyway
  const quantum = size < 2 ** -14 ? 2 ** -24 : 2 ** (Math.floor(Math.log2(size)) - 10);
  return roundHalfToEven(x / quantum) * quantum;
}
