import { finite } from "@loomweight/tensor";
import { defineMergeMethod } from "../define.ts";
import { numberText } from "../formula.ts";
import { elementwise } from "../lazy/lazy-tensor.ts";

/**
 * NearSwap: where the model is near the base, take the model. Per entry a = clamp(t / max(|base − model|, 1e-6), 0, 1);
 * out = a · model + (1−a) · base. float64, rounded once.
 * Source: mergekit (a method of its community, no paper).
 */
export const nearswap = defineMergeMethod({
  name: "nearswap",
  source: "mergekit",
  summary: "Takes the model's entries where they are near the base's, fades to the base elsewhere.",
  formula: ({ base, models: [{ name }], options }) =>
    `a · ${name} + (1 − a) · ${base}, a = clamp(${numberText(options.t)} / |${name} − ${base}|, 0, 1) per entry`,
  needs: { base: "required", models: { min: 1, max: 1 } },
  inputOptions: {},
  options: {
    t: finite(undefined, "difference up to which the model's entry is taken whole; 0 or less gives the base"),
  },
  unequalShapes: "refuse",
  merge: ({ base, models: [model] }, { t }) =>
    elementwise([base, model.tensor], (_, out, [b, x]) => {
      for (let i = 0; i < out.length; i++) {
        const share = Math.max(0, Math.min(1, t / Math.max(Math.abs(b[i] - x[i]), 1e-6)));
        out[i] = share * x[i] + (1 - share) * b[i];
      }
    }),
});
