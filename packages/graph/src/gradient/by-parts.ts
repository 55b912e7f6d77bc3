import type { Decomposition } from "../ops/decompose.ts";
import type { GraphValue, Value } from "../value.ts";
import { backpropagate } from "./gradient.ts";
import type { GradientRule } from "./rule.ts";

/** The gradient of an op as that of its parts, which are computed anew in the backward pass. */
export function throughParts(decompose: Decomposition): GradientRule {
  return ({ op, name, inputs, attributes, outputs, upstream, wants }) => {
    const parts = decompose({ op, name, inputs, attributes, outputs: outputs.length });
    const given: Value[] = [];
    const seeds: Value[] = [];
    for (const [index, seed] of upstream.entries()) {
      const part = parts[index];
      if (seed === undefined || part === undefined) continue;
      given.push(part);
      seeds.push(seed);
    }
    // One value in two places gets the sum, once.
    const wanted = [...new Set(inputs.filter((_, index) => wants[index]))] as GraphValue[];
    const found = backpropagate(given, seeds, wanted, { closed: true });
    return inputs.map((value, index) => {
      if (!wants[index] || inputs.indexOf(value) !== index) return undefined;
      return found[wanted.indexOf(value as GraphValue)];
    });
  };
}
