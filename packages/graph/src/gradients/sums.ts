import { scaled, sumToShape } from "../gradient/algebra.ts";
import { defineGradients, type GradientRule } from "../gradient/rule.ts";

const shared = (share: (operands: number) => number): GradientRule => {
  return (call) => {
    const [dy] = call.upstream;
    if (dy === undefined) return [];
    const part = scaled(dy, share(call.inputs.length));
    return call.inputs.map((x, index) => (call.wants[index] && x ? sumToShape(part, x.shape, call.op) : undefined));
  };
};

/** Each operand gets all of it, or its share of a mean. */
export const sumGradients = /* @__PURE__ */ defineGradients({
  Sum: shared(() => 1),
  Mean: shared((operands) => 1 / operands),
});
