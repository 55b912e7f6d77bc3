import { add, exp, log, mul, reduceMax, reduceMean, reduceSum, sub, type Value } from "@loomweight/graph";

/** log softmax over classes: x [N, classes]. From plain operators, which WebGPU has. */
export function logSoftmaxRows(x: Value): Value {
  const shifted = sub(x, reduceMax(x, [1]));
  return sub(shifted, log(reduceSum(exp(shifted), [1])));
}

/** Mean over rows of H(softmax(x)) = −Σ p log p; a scalar. */
export function meanEntropy(logits: Value): Value {
  const logs = logSoftmaxRows(logits);
  return mul(reduceMean(reduceSum(mul(exp(logs), logs), [1], false), undefined, false), -1);
}

/** Mean over rows of −Σ q log p, q = softmax(target) and p = softmax(logits); a scalar. */
export function consistency(logits: Value, target: Value): Value {
  const sum = reduceSum(mul(exp(logSoftmaxRows(target)), logSoftmaxRows(logits)), [1], false);
  return mul(reduceMean(sum, undefined, false), -1);
}

/** Half of the cross entropies of both directions: −½ mean Σ (q log p + p log q). */
export function symmetricConsistency(logits: Value, target: Value): Value {
  return mul(add(consistency(logits, target), consistency(target, logits)), 0.5);
}

/** Mean over rows of the largest probability; a scalar. */
export function meanConfidence(logits: Value): Value {
  return reduceMean(reduceMax(exp(logSoftmaxRows(logits)), [1], false), undefined, false);
}
