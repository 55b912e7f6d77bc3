import { add, mul, reduceSum, stopGradient, sub, type Value } from "@loomweight/graph";

/** 1 at `index`, 0 elsewhere. */
export const oneHot = (count: number, index: number): number[] =>
  Array.from({ length: count }, (_, i) => (i === index ? 1 : 0));

/** hard, with the gradient of soft: hard + soft − stop(soft), exactly hard forward. */
export function straightThrough(hard: Value, soft: Value): Value {
  return add(hard, sub(soft, stopGradient(soft)));
}

/**
 * One-hot probabilities as the chosen network alone has them: the same numbers, but only the chosen entry passes a
 * gradient on, since the others multiply nothing there.
 */
export function onlyChosen(probabilities: Value, hard: Value): Value {
  return mul(hard, reduceSum(mul(probabilities, hard), [0]));
}
