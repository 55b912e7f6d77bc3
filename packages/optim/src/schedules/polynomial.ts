import { integer, nonNegative, positive } from "@loomweight/tensor";
import { defineSchedule } from "./schedule.ts";

/** floor + (rate − floor) · (1 − step / steps)^power, then it holds. torch's PolynomialLR. */
export const polynomialSchedule = /* @__PURE__ */ defineSchedule(
  "polynomialSchedule",
  () => ({
    rate: nonNegative(undefined, "learning rate at the start"),
    steps: integer(undefined, "steps of the fall", { min: 1 }),
    power: positive(1, "power of the share that is left"),
    floor: nonNegative(0, "learning rate at the end"),
  }),
  ["rate", "steps"],
  ({ rate, steps, power, floor }) =>
    (step) =>
      floor + (rate - floor) * (1 - Math.min(step, steps) / steps) ** power,
);
