import { isGraphValue, sub } from "@loomweight/graph";
import { fromData, LoomweightError, type OptionSpecs, type OptionValues, type Tensor } from "@loomweight/tensor";
import type { AdapterMethod, LayerValues, Params } from "../define.ts";

/** Whether a method's change of a weight can be undone without the base. */
export function isInvertible<S extends OptionSpecs, P extends string>(method: AdapterMethod<S, P>): boolean {
  return method.weight === undefined || method.additive === true || method.original !== undefined;
}

/**
 * The weight [out, in] before an adapter from the one after it (`layer.weight`), by arithmetic: equal up to rounding.
 * Throws `UNSUPPORTED_ADAPTER` where the method forgets the weight it started from.
 */
export function unfoldedWeight<S extends OptionSpecs, P extends string>(
  method: AdapterMethod<S, P>,
  layer: LayerValues,
  params: Params<P>,
  options: OptionValues<S>,
): Tensor {
  const original =
    method.original?.(layer, params, options) ??
    (method.additive === true && method.weight !== undefined
      ? sub(layer.weight, method.weight(withoutWeight(layer), params, options, {}))
      : undefined);
  if (original !== undefined && !isGraphValue(original)) return original;
  throw new LoomweightError({
    code: "UNSUPPORTED_ADAPTER",
    problem: `${method.name} cannot be undone by arithmetic: the folded weight does not determine the one before`,
    fix: "Give the base model.",
  });
}

/** The layer with a weight of zeros: what an additive method makes of it is its update. */
function withoutWeight(layer: LayerValues): LayerValues {
  const zero = fromData("float64", new Float64Array(layer.out * layer.in), [layer.out, layer.in]);
  return { ...layer, weight: zero, base: zero };
}
