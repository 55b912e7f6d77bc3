import { customGradient } from "../gradient/custom.ts";
import { scalarOf } from "../op.ts";
import { abs, add, clip, div, exp, log, max, mul, neg, softplus, sub } from "../ops/elementwise.ts";
import { gatherElements } from "../ops/indexing.ts";
import { cast, equal, greaterOrEqual, where } from "../ops/logic.ts";
import { reduceMax, reduceMean, reduceSum } from "../ops/reduce.ts";
import { scatterElements } from "../ops/scatter.ts";
import { reshape } from "../ops/shape.ts";
import { named } from "../scope.ts";
import type { Value } from "../value.ts";
import { sizesOf } from "./parameters.ts";

export interface CrossEntropyOptions {
  /** Targets that do not count; default -100. `null`: every target counts, which saves a few operators. */
  readonly ignore?: number | null;
  /** Share of each target that is spread evenly over all classes; default 0. */
  readonly smoothing?: number;
}

/**
 * Mean of −log softmax(logits)[target] over the targets that count: logits [.., classes], targets [..] of int32 or
 * int64 (WebGPU: int32). As torch.nn.functional.cross_entropy. Its gradient, softmax − one-hot, is computed in the
 * memory of the exponentials, which matters for large vocabularies.
 */
export function crossEntropy(
  logits: Value,
  targets: Value,
  { ignore = -100, smoothing = 0 }: CrossEntropyOptions = {},
): Value {
  return named("crossEntropy", () => {
    const shape = sizesOf(logits, "crossEntropy");
    const classes = shape[shape.length - 1];
    const rows = shape.slice(0, -1).reduce((product, size) => product * size, 1);
    const flat = reshape(logits, [rows, classes]);
    const column = reshape(targets, [rows, 1]);
    if (ignore === null) return reduceMean(crossEntropyRows(flat, column, smoothing), undefined, false);
    const ignored = equal(column, scalarOf(ignore, column.dtype));
    const losses = crossEntropyRows(flat, where(ignored, scalarOf(0, column.dtype), column), smoothing);
    const counts = where(ignored, scalarOf(0, "float32"), scalarOf(1, "float32"));
    const total = reduceSum(mul(losses, counts), undefined, false);
    return div(total, max(reduceSum(counts, undefined, false), 1));
  });
}

/** −log softmax(x)[target] of each row: x [rows, classes], targets [rows, 1]; [rows, 1]. */
function crossEntropyRows(x: Value, targets: Value, smoothing: number): Value {
  const classes = Number(x.shape[1]);
  const shifted = sub(x, reduceMax(x, [1]));
  const exponentials = exp(shifted);
  const sum = reduceSum(exponentials, [1]);
  const picked = gatherElements(shifted, targets, 1);
  const forward = () => {
    const plain = sub(log(sum), picked);
    if (smoothing === 0) return plain;
    const spread = sub(log(sum), reduceMean(shifted, [1]));
    return add(mul(plain, 1 - smoothing), mul(spread, smoothing));
  };
  return customGradient([x], forward, (dy) => {
    const probabilities = mul(exponentials, div(dy, sum));
    const spread = smoothing === 0 ? probabilities : sub(probabilities, mul(dy, smoothing / classes));
    return [scatterElements(spread, targets, mul(dy, smoothing - 1), { axis: 1, reduction: "add" })];
  });
}

/** Mean of (prediction − target)². As torch.nn.functional.mse_loss. */
export function meanSquaredError(prediction: Value, target: Value): Value {
  const error = sub(prediction, target);
  return reduceMean(mul(error, error), undefined, false);
}

/** Mean of |prediction − target|. As torch.nn.functional.l1_loss. */
export function meanAbsoluteError(prediction: Value, target: Value): Value {
  return reduceMean(abs(sub(prediction, target)), undefined, false);
}

/** Mean of e²/2 where |e| ≤ delta, delta · (|e| − delta/2) beyond. As torch.nn.functional.huber_loss. */
export function huber(prediction: Value, target: Value, delta = 1): Value {
  const size = abs(sub(prediction, target));
  const inside = clip(size, 0, delta);
  return reduceMean(add(mul(mul(inside, inside), 0.5), mul(sub(size, inside), delta)), undefined, false);
}

/** Mean of −(t log σ(x) + (1 − t) log(1 − σ(x))) for logits x. As torch's binary_cross_entropy_with_logits. */
export function binaryCrossEntropy(logits: Value, targets: Value): Value {
  // softplus(−|x|) + max(x, 0) − t x: no exponential overflows
  const stable = add(softplus(neg(abs(logits))), max(logits, 0));
  return reduceMean(sub(stable, mul(targets, logits)), undefined, false);
}

/** Share of rows whose target has the largest logit (ties count): logits [.., classes], targets [..]. */
export function accuracy(logits: Value, targets: Value): Value {
  const shape = sizesOf(logits, "accuracy");
  const rows = shape.slice(0, -1).reduce((product, size) => product * size, 1);
  const flat = reshape(logits, [rows, shape[shape.length - 1]]);
  const picked = gatherElements(flat, reshape(targets, [rows, 1]), 1);
  return reduceMean(cast(greaterOrEqual(picked, reduceMax(flat, [1])), "float32"), undefined, false);
}
