import { choice, integer, nonNegative, unitInterval } from "@loomweight/tensor";
import { cosineFall, defineSchedule } from "./schedule.ts";

/** Shares from 0 to 1 of a rise, and from 1 to 0 of a fall. */
const rises = {
  linear: (q: number) => q,
  cosine: (q: number) => 1 - cosineFall(q),
  sqrt: (q: number) => 1 - Math.sqrt(1 - q),
};
const falls = { linear: (q: number) => 1 - q, cosine: cosineFall, sqrt: (q: number) => 1 - Math.sqrt(q) };

/**
 * Warm-up, stable, decay: rises over `warmup` steps from floor · rate, stays for `stable` steps, falls over `decay` steps
 * to floor · rate and stays there. Hu et al. 2024, arXiv:2404.06395; the fall 1 − √q is Hägele et al.'s, arXiv:2405.18392.
 */
export const wsdSchedule = /* @__PURE__ */ defineSchedule(
  "wsdSchedule",
  () => ({
    rate: nonNegative(undefined, "learning rate of the stable phase"),
    warmup: integer(0, "steps of the rise", { min: 0 }),
    stable: integer(undefined, "steps at the full rate", { min: 0 }),
    decay: integer(undefined, "steps of the fall", { min: 0 }),
    floor: unitInterval(0, "share of the rate at both ends"),
    rise: choice(["linear", "cosine", "sqrt"], "linear", "form of the rise"),
    fall: choice(["linear", "cosine", "sqrt"], "linear", "form of the fall"),
  }),
  ["rate", "stable", "decay"],
  ({ rate, warmup, stable, decay, floor, rise, fall }) =>
    (step) => {
      const scaled = (share: number) => rate * (floor + (1 - floor) * share);
      if (step < warmup) return scaled(rises[rise](step / warmup));
      const fallen = step - warmup - stable;
      if (fallen < 0) return rate;
      return fallen < decay ? scaled(falls[fall](fallen / decay)) : scaled(0);
    },
);
