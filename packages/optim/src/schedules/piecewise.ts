import { LoomweightError } from "@loomweight/tensor";
import { cosineFall, requireRising, type Schedule } from "./schedule.ts";

/** A point of a piecewise schedule: the step (which may lie between two) and the rate there. */
export type SchedulePoint = readonly [step: number, rate: number];

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
    points.map(([step]) => step),
  );
  return (step) => {
    const next = points.findIndex(([end]) => step <= end);
    if (next < 0) return points[points.length - 1][1];
    if (next === 0) return points[0][1];
    const [[start, from], [end, to]] = [points[next - 1], points[next]];
    const q = (step - start) / (end - start);
    return curve === "linear" ? from + (to - from) * q : to + (from - to) * cosineFall(q);
  };
}
