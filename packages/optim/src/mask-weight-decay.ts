import type { Optimizer } from "@loomweight/graph/training";
import type { OptionSpec, OptionSpecs, OptionValues } from "@loomweight/tensor";
import type { OptimizerMethod } from "./define.ts";
import { groups } from "./groups.ts";
import { isMatrix, type ParameterPattern } from "./pattern.ts";

/** Options of a method with weight decay. */
type WithDecay = OptionSpecs & { readonly weightDecay: OptionSpec<number> };

/**
 * An optimizer whose weight decay applies to some parameters only, by default to those of two axes or more and so not to
 * biases and gains: `maskWeightDecay(adamw, { weightDecay: 0.1 })`. Throws `EMPTY_GROUP` where `decayed` takes none.
 */
export function maskWeightDecay<S extends WithDecay>(
  method: OptimizerMethod<S>,
  options: Partial<OptionValues<S>> = {},
  decayed: ParameterPattern = isMatrix,
): Optimizer {
  const without = { ...options, weightDecay: 0 } as Partial<OptionValues<S>>;
  return groups([{ parameters: decayed, optimizer: method(options) }], method(without));
}
