import { clip } from "@loomweight/graph";
import { parseOptions, positive } from "@loomweight/tensor";
import type { GradientTransform } from "./transform.ts";

const options = { bound: positive(1, "largest magnitude of a gradient's entry") };

/** Clamps every entry of every gradient to −bound … bound. */
export function clipByValue(bound: number): GradientTransform {
  const { bound: limit } = parseOptions(options, { bound }, "clipByValue");
  return {
    name: "clipByValue",
    transform: ({ gradients }) => ({
      gradients: Object.fromEntries(Object.entries(gradients).map(([name, g]) => [name, clip(g, -limit, limit)])),
    }),
  };
}
