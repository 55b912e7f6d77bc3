import { finite, unitInterval } from "@loomweight/tensor";

import { defineMergeMethod } from "../define.ts";
import { densityText, taskVectorsText } from "../formula.ts";
import { keepMiddle } from "../sparsify.ts";
import { mergeTaskVectors, taskVectorOptions } from "../task-vector-merge.ts";

/**
 * Breadcrumbs: leave out both the outliers and the noise of each task vector, add the rest to the base.
 * τᵢ = modelᵢ − base; of its magnitudes in descending order the first ⌊gamma · n⌋ are dropped and the next
 * ⌊density · n⌋ kept; out = base + λ · Σ wᵢ kept(τᵢ). float64, rounded once.
 * Source: Davari & Belilovsky 2023, arXiv:2312.06795.
 * Differs from mergekit: where ⌊gamma · n⌋ is 0 nothing is dropped at the top; mergekit then drops the whole task
 * vector, so that norms and biases come out as the base.
 */
export const breadcrumbs = defineMergeMethod({
  name: "breadcrumbs",
  source: "arXiv:2312.06795",
  summary: "Leaves out the largest and the smallest entries of the task vectors, adds the rest.",
  formula: (terms) => taskVectorsText(terms, densityText("without outliers"), false),
  needs: { base: "required", models: { min: 0 } },
  inputOptions: {
    weight: finite(undefined, "factor of this model's task vector"),
    density: unitInterval(1, "share of entries kept; 1 keeps all, whatever gamma"),
    gamma: unitInterval(0.01, "share of entries dropped for being the largest"),
  },
  options: taskVectorOptions({ normalize: false, rescale: false }),
  unequalShapes: "base",
  merge: (sources, options) =>
    mergeTaskVectors(sources, options, {
      sparsify: (dense, model) => keepMiddle(dense, model.options.density, model.options.gamma),
    }),
});
