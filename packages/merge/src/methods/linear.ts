import { boolean, finite, LoomweightError } from "@loomweight/tensor";
import { defineMergeMethod } from "../define.ts";
import { averageText } from "../formula.ts";
import { divideBy, weightedSum } from "../lazy/lazy-tensor.ts";

/**
 * Linear: the weighted average of the models, one shape all: out = Σ wᵢ xᵢ / Σ wᵢ (or the plain sum). float64, rounded
 * once. A base model that takes part is a model like the others.
 * Source: Wortsman et al. 2022 (model soups), arXiv:2203.05482.
 * Differs from mergekit: weights that sum to 0 under `normalize` are refused where it writes infinities.
 */
export const linear = defineMergeMethod({
  name: "linear",
  source: "arXiv:2203.05482",
  summary: "Weighted average of the models.",
  formula: ({ models, options }) => averageText(models, options.normalize === true),
  needs: { base: "ordinary", models: { min: 1 } },
  inputOptions: { weight: finite(undefined, "share of this model") },
  options: { normalize: boolean(true, "divide by the sum of the weights") },
  unequalShapes: "common",
  merge({ models }, { normalize }, { tensor }) {
    const sum = weightedSum(models.map((model) => ({ tensor: model.tensor, weight: model.options.weight })));
    if (!normalize) return sum;
    const total = models.reduce((all, { options }) => all + options.weight, 0);
    if (Math.abs(total) < 1e-12) {
      throw new LoomweightError({
        code: "WEIGHTS_CANCEL",
        problem: "linear: the weights sum to 0, so the average is undefined",
        tensor,
        option: "weight",
        found: models.map(({ options }) => options.weight).join(" + "),
        fix: "Set normalize: false for a plain weighted sum, or change a weight.",
      });
    }
    return divideBy(sum, total);
  },
});
