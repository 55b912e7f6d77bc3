import { customGradient } from "../gradient/custom.ts";
import { scalarOf } from "../op.ts";
import { abs, add, clip, div, exp, log, max, mul, neg, reciprocal, softplus, sub } from "../ops/elementwise.ts";
import { gatherElements } from "../ops/indexing.ts";
import { cast, equal, greaterOrEqual, where } from "../ops/logic.ts";
import { gemm } from "../ops/matmul.ts";
import { reduceMax, reduceMean, reduceSum } from "../ops/reduce.ts";
import { scatterElements } from "../ops/scatter.ts";
import { concat, reshape, split } from "../ops/shape.ts";
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

export interface LinearCrossEntropyOptions {
  /** Default -100; `null`: every target counts. */
  readonly ignore?: number | null;
  /** Parts that the rows are worked on in, one after another; default: rows of at most 4 M logits together. */
  readonly parts?: number;
}

/**
 * crossEntropy(x weightᵀ, targets) for x [.., in], weight [classes, in], targets [..], part by part of the rows: the
 * gradient of a part's logits is used up before the next part begins, so that logits of large vocabularies never lie in
 * memory together. The gradient is that of the whole; it cannot be differentiated again.
 */
export function linearCrossEntropy(
  x: Value,
  weight: Value,
  targets: Value,
  { ignore = -100, parts }: LinearCrossEntropyOptions = {},
): Value {
  return named("linearCrossEntropy", () => {
    const shape = sizesOf(x, "linearCrossEntropy");
    const width = shape[shape.length - 1];
    const rows = shape.slice(0, -1).reduce((product, size) => product * size, 1);
    const count = Math.min(rows, parts ?? Math.ceil((rows * Number(weight.shape[0])) / 2 ** 22));
    const sizes = Array.from(
      { length: count },
      (_, i) => Math.floor(((i + 1) * rows) / count) - Math.floor((i * rows) / count),
    );
    const column = reshape(targets, [rows, 1]);
    const ignored = ignore === null ? undefined : equal(column, scalarOf(ignore, column.dtype));
    const safe = ignored === undefined ? column : where(ignored, scalarOf(0, column.dtype), column);
    const counts = ignored && where(ignored, scalarOf(0, "float32"), scalarOf(1, "float32"));
    const share = counts === undefined ? 1 / rows : div(counts, max(reduceSum(counts, undefined, false), 1));
    // Each row's share of the mean: one number, or a column.
    const shareOf = typeof share === "number" ? () => share : cut(share, sizes);
    const [xs, ts] = [cut(reshape(x, [rows, width]), sizes), cut(safe, sizes)];
    let loss: Value = scalarOf(0, "float32");
    let dWeight: Value | undefined;
    const dParts: Value[] = [];
    for (let i = 0; i < count; i++) {
      // Adding nothing times what came before puts the parts in order.
      const previous = dParts[i - 1];
      const part = previous === undefined ? xs(i) : add(xs(i), mul(reduceSum(previous, undefined, true), 0));
      const logits = gemm(part, weight, undefined, { transB: true });
      const shifted = sub(logits, reduceMax(logits, [1]));
      const picked = gatherElements(shifted, ts(i), 1);
      const exponentials = exp(shifted);
      const sum = reduceSum(exponentials, [1]);
      loss = add(loss, reduceSum(mul(sub(log(sum), picked), shareOf(i)), undefined, false));
      const scaled = mul(exponentials, mul(reciprocal(sum), shareOf(i)));
      const down = mul(add(mul(picked, 0), -1), shareOf(i)); // [rows, 1]
      const dLogits = scatterElements(scaled, ts(i), down, { axis: 1, reduction: "add" });
      dParts.push(gemm(dLogits, weight));
      const own = gemm(dLogits, part, undefined, { transA: true });
      dWeight = dWeight === undefined ? own : add(dWeight, own);
    }
    const dx = reshape(dParts.length === 1 ? dParts[0] : concat(dParts, 0), shape);
    return customGradient(
      [x, weight],
      () => loss,
      (dy) => [mul(dx, dy), mul(dWeight as Value, dy)],
    );
  });
}

/** Rows of x in parts of these sizes. */
function cut(x: Value, sizes: readonly number[]): (part: number) => Value {
  const parts = sizes.length === 1 ? [x] : split(x, sizes, 0);
  return (part) => parts[part];
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
