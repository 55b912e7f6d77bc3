import { boolean, choice, fraction, integer, positive, unitInterval } from "@loomweight/tensor";
import { piecewiseSchedule, type SchedulePoint } from "./piecewise.ts";
import { defineSchedule } from "./schedule.ts";

const shape = () => ({
  steps: integer(undefined, "steps of the whole cycle", { min: 2 }),
  rise: fraction(0.3, "share of the cycle in which the rate rises"),
  curve: choice(["cosine", "linear"], "cosine", "form of the ways up and down"),
  threePhase: boolean(false, "comes down to the start's rate in as long as it rose, then to the end's"),
});

/**
 * One cycle: from peak / startDivisor up to `peak`, then down to peak / startDivisor / endDivisor.
 * Smith and Topin 2018, arXiv:1708.07120, as torch's OneCycleLR.
 */
export const oneCycleSchedule = /* @__PURE__ */ defineSchedule(
  "oneCycleSchedule",
  () => ({
    peak: positive(undefined, "highest learning rate"),
    ...shape(),
    startDivisor: positive(25, "the start is the peak divided by this"),
    endDivisor: positive(1e4, "the end is the start divided by this"),
  }),
  ["peak", "steps"],
  ({ peak, startDivisor, endDivisor, ...cycle }) => {
    const start = peak / startDivisor;
    return piecewiseSchedule(cyclePoints([start, peak, start, start / endDivisor], cycle), cycle);
  },
);

/** The momentum that goes with `oneCycleSchedule`: low while the rate is high. */
export const oneCycleMomentum = /* @__PURE__ */ defineSchedule(
  "oneCycleMomentum",
  () => ({
    ...shape(),
    lowest: unitInterval(0.85, "momentum at the peak of the rate"),
    highest: unitInterval(0.95, "momentum at start and end"),
  }),
  ["steps"],
  ({ lowest, highest, ...cycle }) => piecewiseSchedule(cyclePoints([highest, lowest, highest, highest], cycle), cycle),
);

/** The corners of a cycle; torch's phases end one step before their share of the steps. */
function cyclePoints(
  [start, peak, back, end]: readonly number[],
  { steps, rise, threePhase }: { readonly steps: number; readonly rise: number; readonly threePhase: boolean },
): SchedulePoint[] {
  const top: SchedulePoint = [Math.max(0, rise * steps - 1), peak];
  const last: SchedulePoint = [steps - 1, end];
  if (!threePhase) return [[0, start], top, last];
  return [[0, start], top, [Math.min(steps - 1, Math.max(top[0], 2 * rise * steps - 2)), back], last];
}
