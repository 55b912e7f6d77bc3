import type { Int8Type } from "./int8.ts";
import { roundHalfToEven } from "./rounding.ts";

const smallestNormal = 2 ** -126;

/** Smallest and largest code that a scale is made for. */
export function codeRange(type: Int8Type, symmetric: boolean, reduceRange: boolean): readonly [number, number] {
  if (type === "uint8") return reduceRange ? [0, 127] : [0, 255];
  if (reduceRange) return [-64, 64];
  return symmetric ? [-127, 127] : [-128, 127];
}

/** Scale (float64) and zero point of values within low..high, which holds 0. */
export function scaleAndZero(
  low: number,
  high: number,
  [bottom, top]: readonly [number, number],
  symmetric: boolean,
): { scale: number; zeroPoint: number } {
  const reach = Math.max(-low, high);
  const [from, to] = symmetric ? [-reach, reach] : [low, high];
  const scale = Math.fround(to - from) / (top - bottom); // the span in float32, the step in float64
  if (scale < smallestNormal) return { scale: 1, zeroPoint: 0 };
  const zeroPoint = symmetric ? roundHalfToEven((bottom + top) / 2) : roundHalfToEven(bottom - from / scale);
  return { scale, zeroPoint };
}
