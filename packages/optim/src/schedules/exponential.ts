import { nonNegative } from "@loomweight/tensor";
import { defineSchedule } from "./schedule.ts";

/** rate · gamma^step. torch's ExponentialLR. */
export const exponentialSchedule = /* @__PURE__ */ defineSchedule(
  "exponentialSchedule",
  () => ({
    rate: nonNegative(undefined, "learning rate at the start"),
    gamma: nonNegative(undefined, "factor from step to step"),
  }),
  ["rate", "gamma"],
  ({ rate, gamma }) =>
    (step) =>
      rate * gamma ** step,
);
