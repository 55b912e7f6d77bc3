import { boolean, finite, fraction } from "@loomweight/tensor";
import { signConsensusMean } from "../consensus.ts";
import { defineMergeMethod } from "../define.ts";
import { keepLargest, rescaleToL1 } from "../sparsify.ts";
import { addTaskVector, taskVector } from "../task-vector.ts";

/**
 * TIES: trim each task vector, elect one sign per entry, average the entries that agree with it.
 * τᵢ = modelᵢ − base, all of one shape; out = base + λ · mean{ wᵢ trim(τᵢ) : sign = elected }. float64, rounded once.
 * Source: Yadav et al. 2023, arXiv:2306.01708, Algorithm 1.
 * Differs: `density` counts entries per tensor, the paper trims over the whole model; the election and the mean are
 * weighted, as in mergekit (equal weights are the paper's); `density` defaults to 1 as in mergekit.
 */
export const ties = defineMergeMethod({
  name: "ties",
  source: "arXiv:2306.01708",
  summary: "Trims task vectors by magnitude, elects signs, averages what agrees.",
  needs: { base: "required", models: { min: 0 } },
  inputOptions: {
    weight: finite(undefined, "factor of this model's task vector"),
    density: fraction(1, "share of entries the task vector keeps, largest magnitude first"),
  },
  options: {
    lambda: finite(1, "scale of the merged task vector"),
    normalize: boolean(true, "divide by the weights of the entries that agree"),
    rescale: boolean(false, "restore the L1 norm that trimming took"),
    int8Mask: boolean(false, "accepted for mergekit's recipes, without effect"),
  },
  unequalShapes: "base",
  async merge({ base, models }, { lambda, normalize, rescale }, { tensor }) {
    if (models.length === 0) return base;
    // Only keepLargest and rescaleToL1 read the sources here, a streamed pass each.
    const terms = await Promise.all(
      models.map(async ({ tensor: model, options }) => {
        const dense = taskVector(model, base);
        const trimmed = await keepLargest(dense, options.density, tensor);
        return { taskVector: rescale ? await rescaleToL1(trimmed, dense) : trimmed, weight: options.weight };
      }),
    );
    return addTaskVector(base, signConsensusMean(terms, normalize), lambda);
  },
});
