import { boolean, finite } from "@loomweight/tensor";
import { type WeightedTaskVector, weightedMean } from "./consensus.ts";
import type { MergeInput } from "./define.ts";
import type { LazyTensor } from "./lazy/lazy-tensor.ts";
import { rescaleToL1 } from "./sparsify.ts";
import { addTaskVector, taskVector } from "./task-vector.ts";

/** The options that all methods share which thin out task vectors and add them up; defaults differ. */
export const taskVectorOptions = <N extends boolean, R extends boolean>(defaults: { normalize: N; rescale: R }) => ({
  lambda: finite(1, "scale of the merged task vector"),
  normalize: boolean(defaults.normalize, "divide by the sum of the weights that take part"),
  rescale: boolean(defaults.rescale, "multiply what is kept so that the L1 norm of the task vector stays"),
  int8Mask: boolean(false, "accepted for mergekit's recipes, without effect"),
});

/** How a family member works: what it keeps of a task vector, and how weighted task vectors become one. */
export interface TaskVectorMerge<I> {
  readonly sparsify: (dense: LazyTensor, input: I) => Promise<LazyTensor> | LazyTensor;
  readonly combine?: (terms: readonly WeightedTaskVector[], normalize: boolean) => LazyTensor;
}

/**
 * base + λ · combine{ wᵢ · sparsify(modelᵢ − base) }: trimming comes before weighting, rescaling between the two. The
 * base alone is returned as it is.
 */
export async function mergeTaskVectors<I extends Pick<MergeInput<never>, "tensor"> & { options: { weight: number } }>(
  { base, models }: { readonly base: LazyTensor; readonly models: readonly I[] },
  { lambda, normalize, rescale }: { lambda: number; normalize: boolean; rescale: boolean },
  { sparsify, combine = weightedMean }: TaskVectorMerge<I>,
): Promise<LazyTensor> {
  if (models.length === 0) return base;
  const terms = await Promise.all(
    models.map(async (model) => {
      const dense = taskVector(model.tensor, base);
      const sparse = await sparsify(dense, model);
      return { taskVector: rescale ? await rescaleToL1(sparse, dense) : sparse, weight: model.options.weight };
    }),
  );
  return addTaskVector(base, combine(terms, normalize), lambda);
}
