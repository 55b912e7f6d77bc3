import { LoomweightError } from "@loomweight/tensor";

type Point = readonly number[];

/**
 * Volume dominated by `points` and bounded by `reference`, exact: K-dimensional points, each coordinate to be maximised
 * unless `maximize` says false for it. Points that are not better than the reference in every coordinate add nothing.
 * Cost O(P^(K − 1) log P): meant for K ≤ 4 and some hundred points. Throws `SHAPE_MISMATCH`, `NON_FINITE`.
 */
export function hypervolume(points: readonly Point[], reference: Point, maximize?: readonly boolean[]): number {
  const signs = directions(reference.length, maximize);
  const origin = reference.map((value, k) => signs[k] * checked(value, "the reference"));
  const shifted = points.map((point, i) => {
    if (point.length !== reference.length) throw wrongLength(`point ${i}`, point.length, reference.length);
    return point.map((value, k) => signs[k] * checked(value, `point ${i}`) - origin[k]);
  });
  return volume(shifted.filter((point) => point.every((value) => value > 0)));
}

/** The points that no other point dominates (as good in every coordinate and better in one); of equal ones, the first. */
export function paretoFront(points: readonly Point[], maximize?: readonly boolean[]): Point[] {
  if (points.length === 0) return [];
  const signs = directions(points[0].length, maximize);
  const covers = (a: Point, b: Point) => a.every((value, k) => signs[k] * value >= signs[k] * b[k]);
  return points.filter(
    (point, i) => !points.some((other, j) => j !== i && covers(other, point) && (!covers(point, other) || j < i)),
  );
}

/** Hypervolume of points above the origin: slices along the first coordinate. */
function volume(points: readonly Point[]): number {
  if (points.length === 0) return 0;
  if (points[0].length === 1) return points.reduce((most, [value]) => Math.max(most, value), 0);
  const sorted = [...points].sort((a, b) => a[0] - b[0]);
  let sum = 0;
  let below = 0;
  for (let i = 0; i < sorted.length; i++) {
    const height = sorted[i][0] - below;
    if (height === 0) continue;
    sum += height * volume(paretoFront(sorted.slice(i).map((point) => point.slice(1))));
    below = sorted[i][0];
  }
  return sum;
}

function directions(count: number, maximize?: readonly boolean[]): number[] {
  if (maximize !== undefined && maximize.length !== count) throw wrongLength("maximize", maximize.length, count);
  return Array.from({ length: count }, (_, k) => ((maximize?.[k] ?? true) ? 1 : -1));
}

function checked(value: number, where: string): number {
  if (Number.isFinite(value)) return value;
  throw new LoomweightError({
    code: "NON_FINITE",
    problem: `hypervolume: ${where} holds ${value}`,
    expected: "finite metrics",
  });
}

function wrongLength(what: string, found: number, expected: number): LoomweightError {
  return new LoomweightError({
    code: "SHAPE_MISMATCH",
    problem: `hypervolume: ${what} has ${found} coordinates`,
    expected: `${expected}, as the reference has`,
    found: String(found),
  });
}
