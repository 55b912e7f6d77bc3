import { isGraphValue, sub } from "@loomweight/graph";
import { fromData, LoomweightError, type OptionSpecs, type OptionValues, type Tensor } from "@loomweight/tensor";
import type { AdapterMethod, LayerValues, Params } from "../define.ts";
import type { LayerShape } from "../layer.ts";

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
  throw needsBase(method, "the folded weight does not determine the one before");
}

/** The bias [out] before an adapter from the one after it. Throws `UNSUPPORTED_ADAPTER` where the method forgets it. */
export function unfoldedBias<S extends OptionSpecs, P extends string>(
  method: AdapterMethod<S, P>,
  bias: Tensor,
  layer: LayerShape,
  params: Params<P>,
  options: OptionValues<S>,
): Tensor {
  const original = method.bias?.original?.(bias, layer, params, options);
  if (original !== undefined && !isGraphValue(original)) return original;
  throw needsBase(method, "the folded bias does not determine the one before");
}

/** A method that arithmetic cannot undo. */
export function needsBase({ name }: { readonly name: string }, reason: string): LoomweightError {
  return new LoomweightError({
    code: "UNSUPPORTED_ADAPTER",
    problem: `${name} cannot be undone by arithmetic: ${reason}`,
    fix: "Give the base model.",
  });
}

/** The layer with a weight of zeros: what an additive method makes of it is its update. */
function withoutWeight(layer: LayerValues): LayerValues {
  const zero = fromData("float64", new Float64Array(layer.out * layer.in), [layer.out, layer.in]);
  return { ...layer, weight: zero, base: zero };
}
