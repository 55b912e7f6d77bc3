import { LoomweightError } from "@loomweight/tensor";
import { cosineFall, requireRising, type Schedule } from "./schedule.ts";

/** A point of a piecewise schedule: steps taken so far (a fraction lies between two) and the rate there. */
export type SchedulePoint = readonly [taken: number, rate: number];

/**
 * Through the given points, straight or along half cosines; before the first and after the last it holds.
 * optax's piecewise_interpolate_schedule. Throws `INVALID_OPTION` where steps do not rise.
 */
export function piecewiseSchedule(
  points: readonly SchedulePoint[],
  { curve = "linear" }: { readonly curve?: "linear" | "cosine" } = {},
): Schedule {
  if (points.length === 0) {
    throw new LoomweightError({ code: "INVALID_OPTION", problem: "no points", option: "piecewiseSchedule.points" });
  }
  requireRising(
    "piecewiseSchedule.points",
    points.map(([taken]) => taken),
  );
  const rateAfter = interpolate(points, curve);
  return (step) => rateAfter(step - 1);
}

/** The same by the number of steps taken. */
export function interpolate(points: readonly SchedulePoint[], curve: "linear" | "cosine"): (taken: number) => number {
  return (taken) => {
    const next = points.findIndex(([end]) => taken <= end);
    if (next < 0) return points[points.length - 1][1];
    if (next === 0) return points[0][1];
    const [[start, from], [end, to]] = [points[next - 1], points[next]];
    const q = (taken - start) / (end - start);
    return curve === "linear" ? from + (to - from) * q : to + (from - to) * cosineFall(q);
  };
}
