import { integer, nonNegative } from "@loomweight/tensor";
import { defineSchedule } from "./schedule.ts";

/** rate · gamma^⌊step / every⌋. torch's StepLR, optax's exponential_decay with staircase. */
export const stepSchedule = /* @__PURE__ */ defineSchedule(
  "stepSchedule",
  () => ({
    rate: nonNegative(undefined, "learning rate at the start"),
    every: integer(undefined, "steps between two falls", { min: 1 }),
    gamma: nonNegative(0.1, "factor of a fall"),
  }),
  ["rate", "every"],
  ({ rate, every, gamma }) =>
    (step) =>
      rate * gamma ** Math.floor(step / every),
);
