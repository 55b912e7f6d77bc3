import { mul, sigmoid } from "../ops/elementwise.ts";
import type { Value } from "../value.ts";

/** x · sigmoid(x), also called swish. */
export function silu(x: Value): Value {
  return mul(x, sigmoid(x));
}
