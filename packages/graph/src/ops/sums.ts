import type { Tensor } from "@loomweight/tensor";
import { broadcast } from "../dims.ts";
import { applyOne, defineOps, type OpRule, ruleOf } from "../op.ts";
import type { Operand, Value } from "../value.ts";
import { byParts, type Decomposition } from "./decompose.ts";
import { add, mul } from "./elementwise.ts";
import { inputOf, requireFloat, sameDtype } from "./same-dtype.ts";

const sumOf: Decomposition = ({ inputs }) => [(inputs as readonly Value[]).reduce((total, next) => add(total, next))];

const meanOf: Decomposition = (call) => [mul(sumOf(call)[0] as Value, 1 / call.inputs.length)];

function manyOperands(decompose: Decomposition): OpRule {
  return {
    inputs: [1, Number.POSITIVE_INFINITY],
    infer(call) {
      requireFloat(call, 0);
      const shapes = call.inputs.map((_, index) => inputOf(call, index).shape);
      return [{ dtype: sameDtype(call), shape: broadcast(shapes, call.op) }];
    },
    evaluate: byParts(decompose),
    samples: [{ inputs: [[2, 3]] }, { inputs: [[2, 3], [3], [2, 1]] }],
  };
}

/** Sums and means of any number of operands, broadcast. Neither has a WebGPU kernel: build with `add`. */
export const sumOps = /* @__PURE__ */ defineOps({
  Sum: manyOperands(sumOf),
  Mean: manyOperands(meanOf),
});

/** Mean of the operands, element by element. No WebGPU kernel. */
export function mean(...operands: Tensor[]): Tensor;
export function mean(...operands: Operand[]): Value;
export function mean(...operands: Operand[]): Value {
  return applyOne(ruleOf(sumOps, "Mean"), operands);
}
