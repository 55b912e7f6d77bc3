import { integer, type OptionValues, parseOptions } from "@loomweight/tensor";
import { blendAll, copiesOf, initCopies } from "./blend.ts";
import type { ParameterTransform } from "./transform.ts";

const specs = {
  start: integer(1, "first step that is averaged, counted from 1", { min: 1 }),
  every: integer(1, "steps between two that are averaged", { min: 1 }),
};

/**
 * Stochastic weight averaging: the plain mean of the parameters after steps `start`, `start + every`, …, for the end of
 * a chain. The mean is what `averaged` gives; before `start` it is the parameters before the first step.
 * Networks with batch normalization need its statistics computed anew for the mean.
 * State: `swa`. Source: Izmailov et al. 2018, arXiv:1803.05407.
 */
export function swa(options: Partial<OptionValues<typeof specs>> = {}): ParameterTransform {
  const { start, every } = parseOptions(specs, options, "swa");
  return {
    name: "swa",
    init: (parameters) => initCopies("swa", parameters),
    scalars(step) {
      const since = step - start;
      if (since < 0 || since % every !== 0) return { keep: 1, share: 0 };
      const count = since / every; // models in the mean so far
      return { keep: count / (count + 1), share: 1 / (count + 1) };
    },
    after: (call) => ({ state: blendAll("swa", call) }),
    averaged: (call) => copiesOf("swa", call),
  };
}
