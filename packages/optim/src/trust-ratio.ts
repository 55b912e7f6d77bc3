import { div, greater, min, type Value, where } from "@loomweight/graph";
import { norm } from "./norms.ts";

/**
 * |parameter| / |update|, 1 where either is 0 (arXiv:1904.00962, §3). `clip` keeps it from enlarging a step (LAMBC).
 * A scalar.
 */
export function trustRatio(parameter: Value, update: Value, { clip }: { readonly clip: boolean }): Value {
  const ratio = ratioOrOne(norm(parameter), norm(update));
  return clip ? min(ratio, 1) : ratio;
}

/** a / b where both are above 0, else 1. */
export function ratioOrOne(a: Value, b: Value, quotient: Value = div(a, b)): Value {
  return where(greater(a, 0), where(greater(b, 0), quotient, 1), 1);
}
