import { finite, nonNegative, unitInterval } from "@loomweight/tensor";
import { signConsensusMean } from "../consensus.ts";
import { defineMergeMethod } from "../define.ts";
import { densityText, taskVectorsText } from "../formula.ts";
import { keepRandomByRank } from "../rank-random.ts";
import { mergeTaskVectors, taskVectorOptions } from "../task-vector-merge.ts";

/**
 * DELLA: drop small entries of the task vectors more often than large ones, elect one sign per entry, average what agrees.
 * τᵢ = modelᵢ − base; within each row an entry is kept with a probability from density − epsilon (smallest magnitude)
 * to density + epsilon (largest); out = base + λ · mean{ wᵢ kept(τᵢ) : sign = elected }. float64, rounded once.
 * Source: Deep et al. 2024, arXiv:2406.11617.
 * Differs: `epsilon` is half the width of the window and `rescale` keeps the L1 norm, both as in mergekit; the paper
 * gives the full width and scales each entry by its own 1 / probability.
 */
export const della = defineMergeMethod({
  name: "della",
  source: "arXiv:2406.11617",
  summary: "Drops small entries more often than large ones at random, then elects signs.",
  formula: (terms) => taskVectorsText(terms, densityText("at random by rank"), true),
  needs: { base: "required", models: { min: 0 } },
  inputOptions: {
    weight: finite(undefined, "factor of this model's task vector"),
    density: unitInterval(1, "mean probability with which an entry is kept; 1 keeps all, 0 none"),
    epsilon: nonNegative(0.15, "how far the probabilities of smallest and largest entries are from density"),
  },
  options: taskVectorOptions({ normalize: true, rescale: true }),
  unequalShapes: "base",
  merge: (sources, options, { tensor, seed }) =>
    mergeTaskVectors(sources, options, {
      sparsify: (dense, { options: own, index }) => keepRandomByRank(dense, own, { seed, tensor, model: index }),
      combine: signConsensusMean,
    }),
});
