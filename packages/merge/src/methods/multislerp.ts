import { boolean, finite, LoomweightError, positive } from "@loomweight/tensor";
import { defineMergeMethod } from "../define.ts";
import { numberText } from "../formula.ts";
import { add, weightedSum } from "../lazy/lazy-tensor.ts";
import { gram } from "../lazy/reduce.ts";
import { taskVector } from "../task-vector.ts";

/**
 * MultiSLERP: the weighted mean direction of several tensors at their weighted mean length. Over flattened vᵢ (the
 * models, or their task vectors where there is a base): m = Σ wᵢ vᵢ/‖vᵢ‖ normalised, out = m · Σ wᵢ ‖vᵢ‖ (+ base).
 * float64, rounded once.
 * Source: mergekit. Its tangent step moves nowhere: the weighted tangents at the normalised mean sum to 0.
 */
export const multislerp = defineMergeMethod({
  name: "multislerp",
  source: "mergekit",
  summary: "Weighted mean direction of the models at their weighted mean length.",
  formula: ({ base, models, options }) => {
    const sum = options.normalizeWeights ? models.reduce((all, model) => all + Number(model.options.weight), 0) : 1;
    const parts = models.map(
      ({ name, options: { weight } }) =>
        `${base === undefined ? name : `${name} − ${base}`} by ${numberText(Number(weight) / sum)}`,
    );
    return `${base === undefined ? "" : `${base} + `}mean on the sphere { ${parts.join(", ")} } · mean norm`;
  },
  needs: { base: "optional", models: { min: 1 } },
  inputOptions: { weight: finite(undefined, "share of this model") },
  options: {
    normalizeWeights: boolean(true, "divide the weights by their sum"),
    eps: positive(1e-8, "lengths are enlarged by this much, and a mean direction shorter than it is undefined"),
  },
  unequalShapes: "refuse",
  async merge({ base, models }, { normalizeWeights, eps }, { tensor }) {
    if (models.length === 1) return models[0].tensor;
    const vectors = models.map((model) => (base === undefined ? model.tensor : taskVector(model.tensor, base)));
    const sum = models.reduce((all, { options }) => all + options.weight, 0);
    const weights = models.map(({ options }) => (normalizeWeights ? options.weight / sum : options.weight));
    const products = await gram(vectors);
    const norms = products.map((row, i) => Math.sqrt(row[i]));
    const directions = weights.map((weight, i) => weight / (norms[i] + eps));
    const pairs = directions.flatMap((a, i) => directions.map((b, j) => a * b * products[i][j]));
    const length = Math.sqrt(
      Math.max(
        0,
        pairs.reduce((all, product) => all + product, 0),
      ),
    );
    const scale = weights.reduce((all, weight, i) => all + weight * norms[i], 0);
    if (length < eps && models.length > 2) {
      throw new LoomweightError({
        code: "NO_DIRECTION",
        problem: "multislerp: the weighted directions of the models cancel, so there is no mean direction",
        tensor,
        fix: "Change the weights, or merge tensors that are zero or equal to the base by another method.",
      });
    }
    const factors = length < eps ? weights : directions.map((weight) => (weight / length) * scale);
    const merged = weightedSum(vectors.map((vector, i) => ({ tensor: vector, weight: factors[i] })));
    return base === undefined ? merged : add(base, merged);
  },
});
