import { add, mul, reduceL2, reduceSumSquare, sqrt, type Value } from "@loomweight/graph";
import { elementCount, LoomweightError } from "@loomweight/tensor";

/** Euclidean norm over all elements; a scalar. */
export function norm(x: Value): Value {
  return reduceL2(x, undefined, false);
}

/** √(mean of squares) over all elements; a scalar. */
export function rms(x: Value): Value {
  return mul(norm(x), 1 / Math.sqrt(elementCount(x.shape as readonly number[])));
}

/** Euclidean norm over the elements of all values together; a scalar. Throws `NO_PARAMETERS` for an empty list. */
export function globalNorm(values: readonly Value[]): Value {
  return sqrt(total(values.map((value) => reduceSumSquare(value, undefined, false))));
}

/** Sum of scalars, as a chain of Add (the operator Sum has no WebGPU kernel). */
export function total(values: readonly Value[]): Value {
  if (values.length === 0) throw new LoomweightError({ code: "NO_PARAMETERS", problem: "there are no gradients" });
  return values.slice(1).reduce((sum, value) => add(sum, value), values[0]);
}
