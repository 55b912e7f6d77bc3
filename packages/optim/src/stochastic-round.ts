import { abs, cast, div, greater, less, mul, sub, type Value, where } from "@loomweight/graph";
import { signOf } from "./sign.ts";

/** More than half and less than one unit in the last place of any bfloat16 number, relative to it. */
const nudge = 2 ** -8 * (1 + 2 ** -10);

/**
 * Float32 values rounded to a neighbour in bfloat16, up or down at random with the mean unchanged: up with the
 * probability (x − lower) / (upper − lower). `noise` is uniform in 0 … 1, of x's shape. Values that bfloat16 holds stay
 * as they are; below its normal range (1.2e-38) values are rounded towards zero or to the nearest.
 */
export function stochasticRound(x: Value, noise: Value): Value {
  const toHalf = (value: Value) => cast(cast(value, "bfloat16"), x.dtype);
  const size = abs(x);
  const nearest = toHalf(size);
  // A number times 1 ± nudge lies nearest to its neighbour: one cast finds it, without looking at bits.
  const lower = where(greater(nearest, size), toHalf(mul(nearest, 1 - nudge)), nearest);
  const upper = toHalf(mul(lower, 1 + nudge));
  const chance = div(sub(size, lower), sub(upper, lower)); // not a number at 0: no comparison holds, it stays 0
  const rounded = where(less(noise, chance), upper, lower);
  return cast(mul(signOf(x), rounded), "bfloat16");
}
