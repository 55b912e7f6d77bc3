import { defineMergeMethod } from "../define.ts";
import { densityText, taskVectorsText } from "../formula.ts";
import { keepRandomByRank } from "../rank-random.ts";
import { mergeTaskVectors, taskVectorOptions } from "../task-vector-merge.ts";
import { della } from "./della.ts";

/**
 * DELLA with task arithmetic: drop small entries of the task vectors more often than large ones, add up the rest.
 * τᵢ = modelᵢ − base; within each row an entry is kept with a probability from density − epsilon (smallest magnitude)
 * to density + epsilon (largest); out = base + λ · Σ wᵢ kept(τᵢ). float64, rounded once.
 * Source: Deep et al. 2024, arXiv:2406.11617.
 * Differs: `epsilon` is half the width of the window and `rescale` keeps the L1 norm, both as in mergekit; the paper
 * gives the full width and scales each entry by its own 1 / probability.
 */
export const dellaLinear = defineMergeMethod({
  name: "della-linear",
  source: "arXiv:2406.11617",
  summary: "Drops small entries more often than large ones at random, adds the rest.",
  formula: (terms) => taskVectorsText(terms, densityText("at random by rank"), false),
  needs: { base: "required", models: { min: 0 } },
  inputOptions: della.inputOptions,
  options: taskVectorOptions({ normalize: false, rescale: true }),
  unequalShapes: "base",
  merge: (sources, options, { tensor, seed }) =>
    mergeTaskVectors(sources, options, {
      sparsify: (dense, { options: own, index }) => keepRandomByRank(dense, own, { seed, tensor, model: index }),
    }),
});
