import { choice, integer, nonNegative } from "@loomweight/tensor";
import { defineSchedule } from "./schedule.ts";

/**
 * Up from `low` to `high` and down again, over and over; in mode "halving" each triangle is half as high as the last.
 * Smith 2017, arXiv:1506.01186, as torch's CyclicLR (modes triangular and triangular2).
 */
export const cyclicSchedule = /* @__PURE__ */ defineSchedule(
  "cyclicSchedule",
  () => ({
    low: nonNegative(undefined, "lowest learning rate"),
    high: nonNegative(undefined, "highest learning rate"),
    up: integer(2000, "steps of the way up", { min: 1 }),
    down: integer(2000, "steps of the way down", { min: 1 }),
    mode: choice(["equal", "halving"], "equal", "how heights go on"),
  }),
  ["low", "high"],
  ({ low, high, up, down, mode }) =>
    (step) => {
      const period = up + down;
      const cycle = Math.floor(step / period);
      const within = step - cycle * period;
      const height = within <= up ? within / up : 1 - (within - up) / down;
      return low + (high - low) * height * (mode === "halving" ? 0.5 ** cycle : 1);
    },
);
