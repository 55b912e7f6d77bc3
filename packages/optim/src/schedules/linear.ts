import { integer, nonNegative } from "@loomweight/tensor";
import { defineSchedule } from "./schedule.ts";

/** From rate · startFactor to rate · endFactor in a straight line over `steps`, then it holds. torch's LinearLR. */
export const linearSchedule = /* @__PURE__ */ defineSchedule(
  "linearSchedule",
  () => ({
    rate: nonNegative(undefined, "learning rate that the factors multiply"),
    steps: integer(undefined, "steps of the way", { min: 1 }),
    startFactor: nonNegative(1, "factor at the start"),
    endFactor: nonNegative(0, "factor at the end"),
  }),
  ["rate", "steps"],
  ({ rate, steps, startFactor, endFactor }) =>
    (step) =>
      rate * (startFactor + (endFactor - startFactor) * (Math.min(step, steps) / steps)),
);
