import { add, matMul, type Value } from "@loomweight/graph";
import { inside, type Module, pathOf, weight } from "./module.ts";

export interface LinearOptions {
  readonly inFeatures: number;
  readonly outFeatures: number;
  readonly bias: boolean;
}

/**
 * The linear layer `name`: x [..., in] → [..., out] = x · Wᵀ + b. Stored as weight [out, in] and bias [out]; the graph
 * holds the weight as [in, out], the constant operand of MatMul that runtimes pack once and quantizers look for.
 */
export function linear(
  parent: Module,
  name: string,
  x: Value,
  { inFeatures, outFeatures, bias }: LinearOptions,
): Value {
  return inside(parent, name, (module) => {
    const product = matMul(x, module.weights.matrix(pathOf(module, "weight"), [outFeatures, inFeatures]));
    return bias ? add(product, weight(module, "bias", [outFeatures])) : product;
  });
}

/** The same for a layer whose weight is stored [in, out], as GPT-2 stores them. */
export function linearStoredTransposed(
  parent: Module,
  name: string,
  x: Value,
  { inFeatures, outFeatures, bias }: LinearOptions,
): Value {
  return inside(parent, name, (module) => {
    const product = matMul(x, weight(module, "weight", [inFeatures, outFeatures]));
    return bias ? add(product, weight(module, "bias", [outFeatures])) : product;
  });
}
