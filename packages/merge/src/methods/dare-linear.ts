import { finite, unitInterval } from "@loomweight/tensor";

import { defineMergeMethod } from "../define.ts";
import { densityText, taskVectorsText } from "../formula.ts";
import { keepRandom } from "../sparsify.ts";
import { mergeTaskVectors, taskVectorOptions } from "../task-vector-merge.ts";

/**
 * DARE with task arithmetic: drop entries of the task vectors at random, scale up the rest, add them to the base.
 * τᵢ = modelᵢ − base; each entry is kept with probability `density`, drawn per model from the generator keyed by seed,
 * tensor and model; out = base + λ · Σ wᵢ kept(τᵢ). float64, rounded once.
 * Source: Yu et al. 2023, arXiv:2311.03099.
 * Differs: `rescale` multiplies by Σ|τ| / Σ|kept| (as mergekit), the paper by 1 / density; they agree in expectation.
 */
export const dareLinear = defineMergeMethod({
  name: "dare-linear",
  source: "arXiv:2311.03099",
  summary: "Drops entries of the task vectors at random, adds the rest to the base.",
  formula: (terms) => taskVectorsText(terms, densityText("at random"), false),
  needs: { base: "required", models: { min: 0 } },
  inputOptions: {
    weight: finite(undefined, "factor of this model's task vector"),
    density: unitInterval(1, "probability with which an entry of the task vector is kept"),
  },
  options: taskVectorOptions({ normalize: false, rescale: true }),
  unequalShapes: "base",
  merge: (sources, options, { tensor, seed }) =>
    mergeTaskVectors(sources, options, {
      sparsify: (dense, { options: { density }, index }) => keepRandom(dense, density, { seed, tensor, model: index }),
    }),
});
