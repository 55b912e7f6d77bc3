import { signConsensusMean } from "../consensus.ts";
import { defineMergeMethod } from "../define.ts";
import { densityText, taskVectorsText } from "../formula.ts";
import { keepRandom } from "../sparsify.ts";
import { mergeTaskVectors, taskVectorOptions } from "../task-vector-merge.ts";
import { dareLinear } from "./dare-linear.ts";

/**
 * DARE with TIES: drop entries of the task vectors at random, elect one sign per entry, add up the entries that agree.
 * τᵢ = modelᵢ − base; each entry is kept with probability `density`, drawn per model from the generator keyed by seed,
 * tensor and model; out = base + λ · Σ{ wᵢ kept(τᵢ) : sign = elected }. float64, rounded once.
 * Source: Yu et al. 2023, arXiv:2311.03099.
 * Differs: `rescale` multiplies by Σ|τ| / Σ|kept| (as mergekit), the paper by 1 / density; they agree in expectation.
 */
export const dareTies = defineMergeMethod({
  name: "dare-ties",
  source: "arXiv:2311.03099",
  summary: "Drops entries of the task vectors at random, then elects signs as TIES.",
  formula: (terms) => taskVectorsText(terms, densityText("at random"), true),
  needs: { base: "required", models: { min: 0 } },
  inputOptions: dareLinear.inputOptions,
  options: taskVectorOptions({ normalize: false, rescale: true }),
  unequalShapes: "base",
  merge: (sources, options, { tensor, seed }) =>
    mergeTaskVectors(sources, options, {
      sparsify: (dense, { options: { density }, index }) => keepRandom(dense, density, { seed, tensor, model: index }),
      combine: signConsensusMean,
    }),
});
