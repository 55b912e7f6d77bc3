import { add, matMul, mul, reduceSum, reshape, type Value } from "@loomweight/graph";
import { fromFloat64 } from "@loomweight/tensor";
import { decisionsOf, largestSize } from "../space/axis.ts";
import type { Space } from "../space/space.ts";
import { coefficients } from "./coefficients.ts";
import { type Probabilities, probabilitiesOf } from "./probabilities.ts";

/**
 * The expected number of parameters of a network drawn by these probabilities, all decisions independent: a scalar that
 * gradients pass. `uses` says how often a parameter is used for one sample (positions of a convolution's output, tokens
 * of a linear layer; default 1): the expected number of multiplications then. 0 leaves a parameter out.
 */
export function expectedSize(
  space: Space,
  probabilities: Probabilities,
  { uses = {} }: { readonly uses?: Readonly<Record<string, number>> } = {},
): Value {
  const counts: Value[] = [];
  let fixed = 0;
  for (const [name, spec] of Object.entries(space.parameters)) {
    const times = uses[name] ?? 1;
    const constant = spec.axes
      .filter((axis) => decisionsOf(axis).length === 0)
      .reduce<number>((all, axis) => all * largestSize(axis), times);
    // The sum of a parameter's coefficients is the expected number of its entries.
    const parts = coefficients(spec, probabilities).map(({ value }) => reduceSum(value, undefined, false));
    if (spec.when !== undefined) {
      const { decision, atLeast } = spec.when;
      const p = probabilitiesOf(probabilities, decision);
      const deep = Float64Array.from(decision.choices, (choice) => (choice >= atLeast ? 1 : 0));
      parts.push(reshape(matMul(reshape(p, [1, deep.length]), fromFloat64(deep, [deep.length, 1], p.dtype)), []));
    }
    if (parts.length === 0) fixed += constant;
    else
      counts.push(
        mul(
          parts.reduce((all, part) => mul(all, part)),
          constant,
        ),
      );
  }
  if (counts.length === 0) return fromFloat64(Float64Array.of(fixed), [], "float32");
  return add(
    counts.reduce((sum, each) => add(sum, each)),
    fixed,
  );
}
