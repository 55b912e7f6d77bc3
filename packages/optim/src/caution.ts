import { div, max, mul, reduceMean, type Value } from "@loomweight/graph";
import { positiveMask } from "./sign.ts";

/**
 * Cautious optimizers (Liang et al. 2024, arXiv:2411.16085): entries of an update whose sign disagrees with the gradient
 * are dropped, the rest is enlarged by the share that stayed, taken as at least 1e-3.
 */
export function cautious(update: Value, gradient: Value): Value {
  const mask = positiveMask(mul(update, gradient));
  return mul(update, div(mask, max(reduceMean(mask, undefined, false), 1e-3)));
}
