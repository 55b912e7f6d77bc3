import { LoomweightError } from "@loomweight/tensor";
import { floatOf, intsOf } from "../attributes.ts";
import { scaled } from "../gradient/algebra.ts";
import { defineGradients, noGradient, operand, unary } from "../gradient/rule.ts";
import { applyOne } from "../op.ts";
import { findRule, opTables } from "../ops/catalogue.ts";
import { abs, div, sub } from "../ops/elementwise.ts";
import { cast, greater, where } from "../ops/logic.ts";
import { standardized, throughStandardized } from "./normalize.ts";

/** Operators that imported files use. */
export const otherGradients = /* @__PURE__ */ defineGradients({
  CastLike: unary(({ x, dy }) => cast(dy, x.dtype)),
  Shrink: unary(({ x, dy, call }) => where(greater(abs(x), floatOf(call, "lambd", 0.5)), dy, 0)),
  Hardmax: noGradient,
  EyeLike: noGradient,
  RandomNormalLike: noGradient,
  RandomUniformLike: noGradient,
  Bernoulli: noGradient,
  /** x̂ over the axes, default those of the batch and of space */
  MeanVarianceNormalization: unary(({ x, dy, call }) => {
    const axes = intsOf(call, "axes") ?? [0, 2, 3];
    return throughStandardized(dy, standardized(x, axes, 1e-9, true), axes, true);
  }),
  /** Reversing again puts everything back. */
  ReverseSequence: unary(({ dy, call }) => {
    const rule = findRule(opTables(), "", "ReverseSequence");
    if (rule === undefined)
      throw new LoomweightError({ code: "UNSUPPORTED_OP", problem: "ReverseSequence is in no table" });
    return applyOne(rule, [dy, operand(call, 1)], call.attributes);
  }),
  /** Outside training it does nothing; in training the mask, its second output, says what was kept. */
  Dropout(call) {
    const [dy] = call.upstream;
    if (dy === undefined) return [];
    const [, ratio, training] = call.inputs;
    if (training === undefined) return [dy];
    const mask = call.outputs[1];
    if (mask === undefined) {
      throw new LoomweightError({
        code: "NO_GRADIENT",
        problem: "Dropout in training is differentiated through its mask, which this node does not give",
        node: call.name,
        fix: "Ask for its second output, or multiply by a mask that is an input.",
      });
    }
    const kept = ratio === undefined ? scaled(dy, 2) : div(dy, sub(1, cast(ratio, dy.dtype)));
    return [where(mask, kept, 0)];
  },
});
