import { nonNegative } from "@loomweight/tensor";
import { defineSchedule, requireRising, type Schedule } from "./schedule.ts";

/**
 * rate, times `gamma` for every milestone reached; one that is listed twice counts twice. torch's MultiStepLR.
 * `milestones` in rising order, else `INVALID_OPTION`.
 */
export function multiStepSchedule(
  milestones: readonly number[],
  options: { readonly rate: number; readonly gamma?: number },
): Schedule {
  requireRising("multiStepSchedule.milestones", milestones);
  return falls([...milestones])(options);
}

const falls = (milestones: readonly number[]) =>
  defineSchedule(
    "multiStepSchedule",
    () => ({ rate: nonNegative(undefined, "learning rate at the start"), gamma: nonNegative(0.1, "factor of a fall") }),
    ["rate"],
    ({ rate, gamma }) =>
      (step) =>
        rate * gamma ** milestones.filter((milestone) => milestone <= step).length,
  );
