import { add, greater, mul, sub, type Value, where } from "@loomweight/graph";
import { integer, type OptionValues, parseOptions, unitInterval } from "@loomweight/tensor";
import { copiesOf, initCopies } from "./blend.ts";
import { stateName } from "./per-parameter.ts";
import type { ParameterTransform } from "./transform.ts";

const specs = {
  every: integer(6, "steps of the optimizer between two of the slow weights", { min: 1 }),
  alpha: unitInterval(0.5, "share of the way to the fast weights that the slow ones go"),
};

/**
 * Lookahead, for the end of a chain: every few steps slow ← slow + alpha (fast − slow), and the optimizer goes on from
 * there. The slow weights are what `averaged` gives.
 * State: `slow`. Source: Zhang et al. 2019, arXiv:1907.08610, Algorithm 1 (the optimizer's own state is kept).
 */
export function lookahead(options: Partial<OptionValues<typeof specs>> = {}): ParameterTransform {
  const { every, alpha } = parseOptions(specs, options, "lookahead");
  return {
    name: "lookahead",
    init: (parameters) => initCopies("slow", parameters),
    scalars: (step) => ({ synchronizes: step % every === 0 ? 1 : 0 }),
    after({ parameters, state, scalars }) {
      const now = greater(scalars.synchronizes, 0);
      const updated: Record<string, Value> = {};
      const slow: Record<string, Value> = {};
      for (const [name, fast] of Object.entries(parameters)) {
        const key = stateName("slow", name);
        const next = add(state[key], mul(sub(fast, state[key]), alpha));
        updated[name] = where(now, next, fast);
        slow[key] = where(now, next, state[key]);
      }
      return { parameters: updated, state: slow };
    },
    averaged: (call) => copiesOf("slow", call),
  };
}
