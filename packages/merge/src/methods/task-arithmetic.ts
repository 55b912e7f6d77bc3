import { boolean, finite, unitInterval } from "@loomweight/tensor";
import { weightedMean } from "../consensus.ts";
import { defineMergeMethod } from "../define.ts";
import { taskVectorsText } from "../formula.ts";
import { addTaskVector, taskVector } from "../task-vector.ts";

/**
 * Task arithmetic: what fine-tuning changed is added up. τᵢ = modelᵢ − base, all of one shape;
 * out = base + λ · Σ wᵢ τᵢ (divided by Σ wᵢ when `normalize`). float64, rounded once.
 * Source: Ilharco et al. 2022, arXiv:2212.04089.
 */
export const taskArithmetic = defineMergeMethod({
  name: "task-arithmetic",
  source: "arXiv:2212.04089",
  summary: "Adds the weighted task vectors to the base.",
  formula: (terms) => taskVectorsText(terms, undefined, false),
  needs: { base: "required", models: { min: 0 } },
  inputOptions: {
    weight: finite(undefined, "factor of this model's task vector"),
    density: unitInterval(1, "accepted for mergekit's recipes, without effect"),
  },
  options: {
    lambda: finite(1, "scale of the merged task vector"),
    normalize: boolean(false, "divide by the sum of the weights"),
    rescale: boolean(false, "accepted for mergekit's recipes, without effect"),
    int8Mask: boolean(false, "accepted for mergekit's recipes, without effect"),
  },
  unequalShapes: "base",
  merge({ base, models }, { lambda, normalize }) {
    if (models.length === 0) return base;
    const terms = models.map(({ tensor, options }) => ({
      taskVector: taskVector(tensor, base),
      weight: options.weight,
    }));
    return addTaskVector(base, weightedMean(terms, normalize), lambda);
  },
});
