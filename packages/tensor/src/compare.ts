import { rawBytes } from "./codes.ts";
import type { DType } from "./dtype.ts";
import { LoomweightError, shapeMismatch } from "./errors.ts";
import { contiguousData, type Tensor } from "./tensor.ts";
import { toFloat64 } from "./values.ts";

/** How far results of rounded arithmetic may lie apart, by dtype: absolute, and relative to the expected value. 0 elsewhere. */
export const tolerances: Readonly<Partial<Record<DType, number>>> = {
  float64: 1e-10,
  float32: 1e-5,
  float16: 1e-3,
  bfloat16: 1e-2,
  float8_e4m3fn: 0.07,
  float8_e5m2: 0.13,
};

/** What differs between two tensors of one shape. */
export interface Comparison {
  /** Largest |actual - expected|; infinity where only one is NaN or an infinity differs. */
  readonly maxAbs: number;
  /** Row-major index of that element, -1 where all are equal. */
  readonly at: number;
  readonly actual: number;
  readonly expected: number;
  /** Elements beyond the tolerance. */
  readonly outside: number;
}

/** Whether dtype, shape and every bit of the elements are the same. */
export function equal(a: Tensor, b: Tensor): boolean {
  if (a.dtype !== b.dtype || a.shape.length !== b.shape.length) return false;
  if (a.shape.some((size, axis) => size !== b.shape[axis])) return false;
  const [first, second] = [contiguousData(a), contiguousData(b)];
  if (Array.isArray(first) || Array.isArray(second)) {
    return Array.isArray(first) && Array.isArray(second) && first.every((text, i) => text === second[i]);
  }
  const [x, y] = [rawBytes(first), rawBytes(second)];
  for (let i = 0; i < x.length; i++) if (x[i] !== y[i]) return false;
  return true;
}

/** Largest |a - b|; 0 for equal infinities and where both are NaN, infinity where only one is. Shapes must agree. */
export function maxAbsDifference(a: Tensor, b: Tensor): number {
  return compare(a, b, 0).maxAbs;
}

/** ||a - b|| / ||b||, Euclidean over all elements in float64; 0 where both are 0, infinity where only b is. */
export function relativeL2(a: Tensor, b: Tensor): number {
  requireSameShape(a, b);
  const [x, y] = [toFloat64(a), toFloat64(b)];
  let difference = 0;
  let norm = 0;
  for (let i = 0; i < x.length; i++) {
    difference += (x[i] - y[i]) ** 2;
    norm += y[i] ** 2;
  }
  return difference === 0 ? 0 : Math.sqrt(difference / norm);
}

/**
 * Whether |actual - expected| <= tolerance * (1 + |expected|) everywhere; NaN equals NaN, infinities their like.
 * `tolerance` defaults to the table by dtype, the coarser of the two. Shapes must agree (`SHAPE_MISMATCH`).
 */
export function allClose(actual: Tensor, expected: Tensor, tolerance = toleranceOf(actual, expected)): boolean {
  return compare(actual, expected, tolerance).outside === 0;
}

/** Throws `NOT_CLOSE`, naming the worst element, where `allClose` is false. For tests. */
export function expectClose(actual: Tensor, expected: Tensor, tolerance = toleranceOf(actual, expected)): void {
  const found = compare(actual, expected, tolerance);
  if (found.outside === 0) return;
  throw new LoomweightError({
    code: "NOT_CLOSE",
    problem: `${found.outside} of ${toFloat64(expected).length} elements differ by more than ${tolerance} * (1 + |expected|); the worst is element ${found.at} of [${expected.shape}]`,
    expected: `${found.expected}`,
    found: `${found.actual}`,
  });
}

function toleranceOf(a: Tensor, b: Tensor): number {
  return Math.max(tolerances[a.dtype] ?? 0, tolerances[b.dtype] ?? 0);
}

function requireSameShape(a: Tensor, b: Tensor): void {
  if (a.shape.length === b.shape.length && a.shape.every((size, axis) => size === b.shape[axis])) return;
  throw shapeMismatch({
    where: "comparison",
    expected: { from: "expected", shape: b.shape },
    got: { from: "actual", shape: a.shape },
  });
}

/** The worst element and how many lie outside `tolerance`. */
export function compare(a: Tensor, b: Tensor, tolerance: number): Comparison {
  requireSameShape(a, b);
  const [x, y] = [toFloat64(a), toFloat64(b)];
  let [maxAbs, at, outside] = [0, -1, 0];
  for (let i = 0; i < x.length; i++) {
    if (x[i] === y[i] || (Number.isNaN(x[i]) && Number.isNaN(y[i]))) continue;
    const gap = Math.abs(x[i] - y[i]);
    const difference = Number.isNaN(gap) ? Number.POSITIVE_INFINITY : gap;
    if (!(difference <= tolerance * (1 + Math.abs(y[i])) && Number.isFinite(difference))) outside++;
    if (difference > maxAbs) [maxAbs, at] = [difference, i];
  }
  return { maxAbs, at, actual: at < 0 ? 0 : x[at], expected: at < 0 ? 0 : y[at], outside };
}
