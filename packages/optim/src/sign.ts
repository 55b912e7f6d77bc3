import { cast, greater, less, sub, type Value } from "@loomweight/graph";

/** −1, 0 or 1 of x's dtype, from comparisons: the operator Sign has no WebGPU kernel. */
export function signOf(x: Value): Value {
  return sub(positiveMask(x), cast(less(x, 0), x.dtype));
}

/** 1 where x > 0, else 0, of x's dtype. */
export function positiveMask(x: Value): Value {
  return cast(greater(x, 0), x.dtype);
}
