import { neg } from "@loomweight/graph";
import type { GradientTransform } from "./transform.ts";

/** Turns descent into ascent: negates every gradient, before weight decay. */
export function maximize(): GradientTransform {
  return {
    name: "maximize",
    transform: ({ gradients }) => ({
      gradients: Object.fromEntries(Object.entries(gradients).map(([name, g]) => [name, neg(g)])),
    }),
  };
}
