import { intOf } from "../attributes.ts";
import { defineGradients, noGradient, unary } from "../gradient/rule.ts";
import { trilu } from "../ops/generate.ts";

/** Ops that make tensors from few numbers. */
export const generateGradients = /* @__PURE__ */ defineGradients({
  ConstantOfShape: noGradient,
  Trilu: unary(({ dy, call }) => trilu(dy, { upper: intOf(call, "upper", 1) === 1, k: call.inputs[1] })),
});
