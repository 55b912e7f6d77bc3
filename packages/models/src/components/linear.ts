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

export interface PackedLinearOptions {
  readonly inFeatures: number;
  /** The layers, in the order of their results, and how many outputs each has. */
  readonly parts: readonly { readonly name: string; readonly outFeatures: number }[];
  readonly bias: boolean;
}

/**
 * Linear layers of one input as the single layer `name`: x [..., in] → [..., out₁ + out₂ + …], the results of the layers one
 * after another. One product reads x once where runtimes pack or quantize what they multiply.
 */
export function packedLinear(
  parent: Module,
  name: string,
  x: Value,
  { inFeatures, parts, bias }: PackedLinearOptions,
): Value {
  const stored = (kind: string, inner: readonly number[]) =>
    parts.map((part) => ({ name: pathOf(parent, `${part.name}.${kind}`), shape: [part.outFeatures, ...inner] }));
  return inside(parent, name, (module) => {
    const { weights } = module;
    const product = matMul(x, weights.joinedMatrix(stored("weight", [inFeatures]), pathOf(module, "weight")));
    return bias ? add(product, weights.joined(stored("bias", []), pathOf(module, "bias"))) : product;
  });
}
