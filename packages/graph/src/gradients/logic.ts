import { sumToShape } from "../gradient/algebra.ts";
import { defineGradients, noGradient, operand, unary } from "../gradient/rule.ts";
import { cast, where } from "../ops/logic.ts";

/** Comparisons give no floats; a choice passes the gradient to what was chosen. */
export const logicGradients = /* @__PURE__ */ defineGradients({
  Equal: noGradient,
  Greater: noGradient,
  GreaterOrEqual: noGradient,
  Less: noGradient,
  LessOrEqual: noGradient,
  IsNaN: noGradient,
  IsInf: noGradient,
  Cast: unary(({ x, dy }) => cast(dy, x.dtype)),
  Where(call) {
    const [dy] = call.upstream;
    if (dy === undefined) return [];
    const [condition, a, b] = [operand(call, 0), operand(call, 1), operand(call, 2)];
    return [
      undefined,
      call.wants[1] ? sumToShape(where(condition, dy, 0), a.shape, call.op) : undefined,
      call.wants[2] ? sumToShape(where(condition, 0, dy), b.shape, call.op) : undefined,
    ];
  },
});
