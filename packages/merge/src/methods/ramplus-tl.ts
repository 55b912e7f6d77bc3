import { nonNegative } from "@loomweight/tensor";
import { defineMergeMethod } from "../define.ts";
import { numberText } from "../formula.ts";
import { addReinforced, countActive } from "../reinforced.ts";

/**
 * RAM+ at tensor level: as RAM, with entries that model i alone changed times 1 + r · min(Sᵢ / max(Uᵢ, epsilon), alpha),
 * where of its active entries in this tensor Sᵢ are shared with other models and Uᵢ are its own. float64, rounded once.
 * Source: arXiv:2601.13572, as mergekit has it: the ratio is taken per tensor, the paper takes it over the model.
 */
export const ramplusTl = defineMergeMethod({
  name: "ramplus-tl",
  source: "arXiv:2601.13572",
  summary: "RAM with a model's own changes strengthened by how much of the rest it shares.",
  formula: ({ base, models, options }) =>
    `${base} + mean of the changes above ${numberText(options.epsilon)} { ${models.map(({ name }) => `${name} − ${base}`).join(", ")} }, those of one model alone times 1 + ${numberText(options.r)} · min(shared / unique, ${numberText(options.alpha)})`,
  needs: { base: "required", models: { min: 1 } },
  inputOptions: {},
  options: {
    r: nonNegative(0.1, "strength of the reinforcement"),
    alpha: nonNegative(0.2, "largest ratio of shared to own entries that counts"),
    epsilon: nonNegative(1e-5, "changes up to this size count as none"),
  },
  unequalShapes: "refuse",
  async merge({ base, models }, { r, alpha, epsilon }) {
    const tensors = models.map(({ tensor }) => tensor);
    const counts = await countActive(base, tensors, epsilon);
    // Without entries of its own there is nothing to strengthen.
    const factors = counts.map(({ shared, own }) =>
      own === 0 ? 1 : 1 + r * Math.min(shared / Math.max(own, epsilon), alpha),
    );
    return addReinforced(base, tensors, epsilon, factors);
  },
});
