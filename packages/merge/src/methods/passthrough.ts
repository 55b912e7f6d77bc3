import { finite } from "@loomweight/tensor";
import { defineMergeMethod } from "../define.ts";
import { weightedText } from "../formula.ts";
import { scale } from "../lazy/lazy-tensor.ts";

/**
 * Passthrough: the one model's tensor as it is, times `scale` where given: for stacking layers of several models.
 * Source: mergekit.
 */
export const passthrough = defineMergeMethod({
  name: "passthrough",
  source: "mergekit",
  summary: "Takes tensors as they are, for stacking layers.",
  formula: ({ models: [{ name, options }] }) => weightedText([{ factor: Number(options.scale), text: name }]),
  needs: { base: "ordinary", models: { min: 1, max: 1 } },
  inputOptions: { scale: finite(1, "factor of the tensor") },
  options: {},
  unequalShapes: "refuse",
  merge: ({ models: [{ tensor, options }] }) => scale(tensor, options.scale),
});
