import { finite, fraction } from "@loomweight/tensor";
import { signConsensusMean } from "../consensus.ts";
import { defineMergeMethod } from "../define.ts";
import { densityText, taskVectorsText } from "../formula.ts";
import { keepLargest } from "../sparsify.ts";
import { mergeTaskVectors, taskVectorOptions } from "../task-vector-merge.ts";

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
  formula: (terms) => taskVectorsText(terms, densityText("largest"), true),
  needs: { base: "required", models: { min: 0 } },
  inputOptions: {
    weight: finite(undefined, "factor of this model's task vector"),
    density: fraction(1, "share of entries the task vector keeps, largest magnitude first"),
  },
  options: taskVectorOptions({ normalize: true, rescale: false }),
  unequalShapes: "base",
  // Only keepLargest and the rescaling read the sources here, a streamed pass or two each.
  merge: (sources, options, { tensor }) =>
    mergeTaskVectors(sources, options, {
      sparsify: (dense, model) => keepLargest(dense, model.options.density, tensor),
      combine: signConsensusMean,
    }),
});
