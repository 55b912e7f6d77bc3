import { choice, integer, nonNegative } from "@loomweight/tensor";
import { cosineFall, defineSchedule } from "./schedule.ts";

/**
 * From `rate` to `floor` along half a cosine over `steps`; then it holds, or with `after` "climb" goes back and forth as
 * torch's CosineAnnealingLR does. Loshchilov and Hutter 2017, arXiv:1608.03983.
 */
export const cosineSchedule = /* @__PURE__ */ defineSchedule(
  "cosineSchedule",
  () => ({
    rate: nonNegative(undefined, "learning rate at the start"),
    steps: integer(undefined, "steps of the fall", { min: 1 }),
    floor: nonNegative(0, "learning rate at its end"),
    after: choice(["hold", "climb"], "hold", "what follows"),
  }),
  ["rate", "steps"],
  ({ rate, steps, floor, after }) =>
    (step) =>
      floor + (rate - floor) * cosineFall((after === "hold" ? Math.min(step, steps) : step) / steps),
);
