import { integer, nonNegative } from "@loomweight/tensor";
import { defineSchedule } from "./schedule.ts";

/** rate / √(1 + step / timescale). After `warmup` of as many steps: the schedule of "Attention is all you need". */
export const inverseSqrtSchedule = /* @__PURE__ */ defineSchedule(
  "inverseSqrtSchedule",
  () => ({
    rate: nonNegative(undefined, "learning rate at the start"),
    timescale: integer(10_000, "steps after which the rate has fallen by √2", { min: 1 }),
  }),
  ["rate"],
  ({ rate, timescale }) =>
    (step) =>
      rate / Math.sqrt(1 + step / timescale),
);
