import { LoomweightError } from "@loomweight/tensor";
import { mul } from "../ops/elementwise.ts";
import type { RandomInputs } from "../training/random-inputs.ts";
import type { Value } from "../value.ts";
import { sizesOf } from "./parameters.ts";

/**
 * Sets a share `rate` of the elements to 0 and scales the others by 1 / (1 − rate). The mask is an input that the
 * training loop draws from (seed, step, name); without `random`, as outside training, x passes unchanged.
 */
export function dropout(x: Value, rate: number, random: RandomInputs | undefined, name: string): Value {
  if (!(rate >= 0 && rate < 1)) {
    throw new LoomweightError({
      code: "INVALID_OPTION",
      option: "rate",
      problem: `dropout "${name}": no such share`,
      expected: "0 <= rate < 1",
      found: `${rate}`,
    });
  }
  return random === undefined || rate === 0 ? x : mul(x, random.keep(name, sizesOf(x, `dropout "${name}"`), rate));
}
