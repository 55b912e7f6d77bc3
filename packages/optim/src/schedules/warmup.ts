import { integer, nonNegative, parseOptions } from "@loomweight/tensor";
import type { Schedule } from "./schedule.ts";

const specs = {
  steps: integer(undefined, "steps of the rise", { min: 0 }),
  from: nonNegative(0, "share of the schedule's first rate that the rise starts from"),
};

/**
 * Before a schedule, a straight rise to its first rate over `steps`; then the schedule at its own step 0. The first step
 * has `from` times that rate: with 0 (the default, as in transformers) it only fills the optimizer's averages.
 */
export function warmup(schedule: Schedule, options: { readonly steps: number; readonly from?: number }): Schedule {
  const { steps, from } = parseOptions(specs, options, "warmup");
  return (step) => (step < steps ? schedule(0) * (from + (1 - from) * (step / steps)) : schedule(step - steps));
}
