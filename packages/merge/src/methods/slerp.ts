import { finite } from "@loomweight/tensor";
import { arcFactors } from "../arc.ts";
import { defineMergeMethod } from "../define.ts";
import { numberText } from "../formula.ts";
import { weightedSum } from "../lazy/lazy-tensor.ts";
import { gram } from "../lazy/reduce.ts";

/** Closer to parallel than this (either way), the arc is taken as a line. */
const nearlyParallel = 0.9995;

/**
 * Slerp: along the arc from the base to the other model. Over the flattened tensors, θ = the angle between them:
 * out = sin((1−t)θ)/sin θ · base + sin(tθ)/sin θ · model; a line where |cos θ| > 0.9995. float64, rounded once.
 * Source: Shoemake 1985; coefficients act on the unnormalised tensors, as in mergekit.
 */
export const slerp = defineMergeMethod({
  name: "slerp",
  source: "Shoemake 1985 (SIGGRAPH), mergekit",
  summary: "Interpolates between base and one model along the arc.",
  formula: ({ base, models: [model], options }) =>
    model === undefined
      ? `${base}`
      : `sin(${numberText(1 - Number(options.t))} θ) / sin θ · ${base} + sin(${numberText(options.t)} θ) / sin θ · ${model.name}, θ = angle(${base}, ${model.name})`,
  needs: { base: "required", models: { min: 0, max: 1 } },
  inputOptions: {},
  options: { t: finite(undefined, "position on the arc: 0 is the base, 1 the model") },
  unequalShapes: "common",
  async merge({ base, models: [model] }, { t }) {
    if (model === undefined) return base;
    const [[bb, product], [, xx]] = await gram([base, model.tensor]);
    const norms = [unlessTiny(Math.sqrt(bb)), unlessTiny(Math.sqrt(xx))] as const;
    const isLine = (cosine: number) => Math.abs(cosine) > nearlyParallel;
    const [ofBase, ofModel] = arcFactors({ norms, product, t, isLine });
    return weightedSum([
      { tensor: base, weight: ofBase },
      { tensor: model.tensor, weight: ofModel },
    ]);
  },
});

/** A vector this short is left undivided: its direction is noise. */
const unlessTiny = (norm: number) => (norm > 1e-8 ? norm : 1);
