import { add, div, mul, reduceMean, reshape, sqrt, sub, type Value } from "@loomweight/graph";
import { batchNorm } from "@loomweight/graph/nn";
import { choice, LoomweightError, nonNegative } from "@loomweight/tensor";

/** Which mean and variance batch normalizations use. */
export interface Statistics {
  /** `source`: the recorded ones; `batch`: those of the batch; `prior`: both, see `priorCount`. */
  readonly statistics: "source" | "batch" | "prior";
  /** `prior`: the recorded ones weigh as much as so many samples: N / (N + batch size). */
  readonly priorCount: number;
}

export const statisticsOptions = {
  statistics: choice(["batch", "prior", "source"], "batch", "which mean and variance batch normalizations use"),
  priorCount: nonNegative(16, "prior: the recorded statistics weigh as much as so many samples"),
};

/** The operands of one batch normalization. */
export interface BatchNormCall {
  readonly node: string;
  readonly x: Value;
  readonly scale: Value;
  readonly bias: Value;
  readonly mean: Value;
  readonly variance: Value;
  readonly epsilon: number;
}

/** A batch normalization with other statistics; undefined: as it stands in the file. */
export function withStatistics(call: BatchNormCall, { statistics, priorCount }: Statistics): Value | undefined {
  if (statistics === "source") return undefined;
  if (statistics === "batch" || priorCount === 0) return ofBatch(call, 0).output;
  const { x, scale, bias, mean, variance, epsilon } = call;
  const batch = Number(x.shape[0]);
  const [own, recorded] = [batch / (priorCount + batch), priorCount / (priorCount + batch)];
  const { axes, perChannel } = layout(x);
  const batchMean = reduceMean(x, axes);
  const off = sub(x, batchMean);
  const batchVariance = reduceMean(mul(off, off), axes);
  const blend = (from: Value, to: Value) => add(mul(to, own), mul(reshape(from, perChannel), recorded));
  const centred = sub(x, blend(mean, batchMean));
  const normed = div(centred, sqrt(add(blend(variance, batchVariance), epsilon)));
  return add(mul(normed, reshape(scale, perChannel)), reshape(bias, perChannel));
}

/**
 * Normalized by the batch itself (biased variance), and the running statistics a share of `momentum` nearer to the
 * batch (unbiased variance). Throws `INVALID_BATCH` for one value per channel, whose variance is 0.
 */
export function ofBatch(
  { node, x, scale, bias, mean, variance, epsilon }: BatchNormCall,
  momentum: number,
): { output: Value; mean: Value; variance: Value } {
  const { axes } = layout(x);
  if (axes.every((axis) => x.shape[axis] === 1)) {
    throw new LoomweightError({
      code: "INVALID_BATCH",
      problem: "a batch normalization sees one value per channel, which has no variance",
      node,
      found: `[${x.shape}]`,
      fix: 'Give larger batches, or `statistics: "prior"`, which blends in the recorded statistics.',
    });
  }
  const layer = "batch_norm";
  const names = { weight: scale, bias, running_mean: mean, running_var: variance };
  const own = Object.fromEntries(Object.entries(names).map(([name, value]) => [`${layer}.${name}`, value]));
  const { output, updates } = batchNorm(own, own, layer, x, { training: true, epsilon, momentum });
  return { output, mean: updates[`${layer}.running_mean`], variance: updates[`${layer}.running_var`] };
}

/** Axes of batch and space, and the shape of a channel's numbers beside x [N, C, …]. */
function layout(x: Value): { axes: number[]; perChannel: number[] } {
  return {
    axes: x.shape.map((_, axis) => axis).filter((axis) => axis !== 1),
    perChannel: x.shape.map((size, axis) => (axis === 1 ? Number(size) : 1)),
  };
}
