import { integer, nonNegative } from "@loomweight/tensor";
import { defineSchedule } from "./schedule.ts";

/** The same rate at every step; `factor` times it for the first `steps`. torch's ConstantLR. */
export const constantSchedule = /* @__PURE__ */ defineSchedule(
  "constantSchedule",
  () => ({
    rate: nonNegative(undefined, "learning rate"),
    factor: nonNegative(1, "factor of the first steps"),
    steps: integer(0, "how many steps have the factor", { min: 0 }),
  }),
  ["rate"],
  ({ rate, factor, steps }) =>
    (step) =>
      step < steps ? rate * factor : rate,
);
