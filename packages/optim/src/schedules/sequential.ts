import { LoomweightError } from "@loomweight/tensor";
import { requireRising, type Schedule } from "./schedule.ts";

/**
 * One schedule after another: the second starts, at its own step 0, at the first milestone, and so on. torch's
 * SequentialLR. Throws `INVALID_OPTION` unless there is one milestone fewer than schedules, in rising order.
 */
export function sequentialSchedule(schedules: readonly Schedule[], milestones: readonly number[]): Schedule {
  if (schedules.length === 0 || milestones.length !== schedules.length - 1) {
    throw new LoomweightError({
      code: "INVALID_OPTION",
      problem: "schedules and milestones do not fit",
      option: "sequentialSchedule.milestones",
      expected: "one milestone between two schedules",
      found: `${schedules.length} schedules, ${milestones.length} milestones`,
    });
  }
  requireRising("sequentialSchedule.milestones", milestones);
  return (step) => {
    const at = milestones.filter((milestone) => milestone <= step).length;
    return schedules[at](at === 0 ? step : step - milestones[at - 1]);
  };
}
