import { signConsensusMean } from "../consensus.ts";
import { defineMergeMethod } from "../define.ts";
import { densityText, taskVectorsText } from "../formula.ts";
import { keepMiddle } from "../sparsify.ts";
import { mergeTaskVectors, taskVectorOptions } from "../task-vector-merge.ts";
import { breadcrumbs } from "./breadcrumbs.ts";

/**
 * Breadcrumbs with TIES: leave out outliers and noise of each task vector, elect one sign per entry.
 * τᵢ = modelᵢ − base; of its magnitudes in descending order the first ⌊gamma · n⌋ are dropped and the next
 * ⌊density · n⌋ kept; out = base + λ · Σ{ wᵢ kept(τᵢ) : sign = elected }. float64, rounded once.
 * Source: Davari & Belilovsky 2023, arXiv:2312.06795.
 * Differs from mergekit: where ⌊gamma · n⌋ is 0 nothing is dropped at the top; mergekit then drops the whole task
 * vector, so that norms and biases come out as the base.
 */
export const breadcrumbsTies = defineMergeMethod({
  name: "breadcrumbs-ties",
  source: "arXiv:2312.06795",
  summary: "Leaves out the largest and the smallest entries, then elects signs as TIES.",
  formula: (terms) => taskVectorsText(terms, densityText("without outliers"), true),
  needs: { base: "required", models: { min: 0 } },
  inputOptions: breadcrumbs.inputOptions,
  options: taskVectorOptions({ normalize: false, rescale: false }),
  unequalShapes: "base",
  merge: (sources, options) =>
    mergeTaskVectors(sources, options, {
      sparsify: (dense, model) => keepMiddle(dense, model.options.density, model.options.gamma),
      combine: signConsensusMean,
    }),
});
