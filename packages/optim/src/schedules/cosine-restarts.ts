import { integer, nonNegative } from "@loomweight/tensor";
import { cosineFall, defineSchedule } from "./schedule.ts";

/**
 * Falls from `rate` to `floor` along half a cosine, starts again at `rate`, each period `growth` times the last.
 * torch's CosineAnnealingWarmRestarts; Loshchilov and Hutter 2017, arXiv:1608.03983.
 */
export const cosineRestartsSchedule = /* @__PURE__ */ defineSchedule(
  "cosineRestartsSchedule",
  () => ({
    rate: nonNegative(undefined, "learning rate at each start"),
    steps: integer(undefined, "steps of the first period", { min: 1 }),
    growth: integer(1, "factor of the period's length", { min: 1 }),
    floor: nonNegative(0, "learning rate towards the end of a period"),
  }),
  ["rate", "steps"],
  ({ rate, steps, growth, floor }) =>
    (step) => {
      let [start, length] = [0, steps];
      if (growth === 1) start = step - (step % steps);
      else {
        while (step >= start + length) {
          start += length;
          length *= growth;
        }
      }
      return floor + (rate - floor) * cosineFall((step - start) / length);
    },
);
