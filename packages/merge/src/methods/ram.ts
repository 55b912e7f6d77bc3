import { nonNegative } from "@loomweight/tensor";
import { defineMergeMethod } from "../define.ts";
import { numberText } from "../formula.ts";
import { addReinforced } from "../reinforced.ts";

/**
 * RAM: what one model alone changed is kept whole, what several changed is averaged. τᵢ = modelᵢ − base; an entry is
 * active in model i where |τᵢ| > epsilon, C = how many are; out = base + Σ active τᵢ / C. float64, rounded once.
 * Source: arXiv:2601.13572, as mergekit has it.
 */
export const ram = defineMergeMethod({
  name: "ram",
  source: "arXiv:2601.13572",
  summary: "Keeps what one model alone changed, averages what several changed.",
  formula: ({ base, models, options }) =>
    `${base} + mean of the changes above ${numberText(options.epsilon)} { ${models.map(({ name }) => `${name} − ${base}`).join(", ")} }`,
  needs: { base: "required", models: { min: 1 } },
  inputOptions: {},
  options: { epsilon: nonNegative(1e-5, "changes up to this size count as none") },
  unequalShapes: "refuse",
  merge: ({ base, models }, { epsilon }) =>
    addReinforced(
      base,
      models.map(({ tensor }) => tensor),
      epsilon,
      models.map(() => 1),
    ),
});
