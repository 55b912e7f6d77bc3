import { elementCount } from "@loomweight/tensor";
import { intOf, intsOf } from "../attributes.ts";
import { normalizeAxis } from "../dims.ts";
import {
  concreteShape,
  constantNumbers,
  keepAxes,
  plus,
  scaled,
  spread,
  sumToShape,
  times,
  zeroBuffer,
} from "../gradient/algebra.ts";
import { defineGradients, type GradientCall, type GradientRule, noGradient, operand, unary } from "../gradient/rule.ts";
import { div, exp, mul, sub } from "../ops/elementwise.ts";
import { cast, equal, where } from "../ops/logic.ts";
import { cumSum, reduceProd, reduceSum } from "../ops/reduce.ts";
import { scatterElements } from "../ops/scatter.ts";
import type { Value } from "../value.ts";
import { withSign } from "./elementwise.ts";

interface ReductionCall {
  readonly x: Value;
  /** The result and its gradient with the reduced axes as size 1. */
  readonly y: Value;
  readonly dy: Value;
  readonly axes: readonly number[];
  readonly call: GradientCall;
}

/** The axes a reduction takes: input 1, or the attribute of old opsets; none named = all. */
function reducedAxes(call: GradientCall): readonly number[] {
  const rank = operand(call, 0).shape.length;
  const given = call.inputs[1] === undefined ? intsOf(call, "axes") : constantNumbers(call, 1);
  if (given !== undefined && given.length > 0) return given.map((axis) => normalizeAxis(axis, rank, call.op));
  return intOf(call, "noop_with_empty_axes", 0) === 1 ? [] : Array.from({ length: rank }, (_, axis) => axis);
}

/** Rule of a reduction: `grad` gives dL/dx, or what broadcasts to it. */
function reduction(grad: (call: ReductionCall) => Value): GradientRule {
  return (call) => {
    const [given] = call.upstream;
    if (given === undefined) return [];
    const x = operand(call, 0);
    const axes = reducedAxes(call);
    const kept = intOf(call, "keepdims", 1) === 1;
    const dy = keepAxes(given, axes, kept);
    const y = keepAxes(call.outputs[0], axes, kept);
    return [spread(grad({ x, y, dy, axes, call }), x)];
  };
}

/** The largest (or smallest) elements share the gradient evenly. */
const extreme = reduction(({ x, y, dy, axes }) => {
  if (axes.length === 0) return dy;
  const ties = equal(x, y);
  const count = reduceSum(cast(ties, x.dtype), axes);
  return where(ties, div(dy, count), 0);
});

/** Each element's factor is the product of the others, exact where one or more are 0. */
const product = reduction(({ x, dy, axes }) => {
  if (axes.length === 0) return dy;
  const zero = equal(x, 0);
  const nonzero = where(zero, 1, x);
  const zeros = reduceSum(cast(zero, x.dtype), axes);
  const rest = reduceProd(nonzero, axes);
  const atZero = where(equal(zeros, 1), rest, 0);
  const elsewhere = where(equal(zeros, 0), div(rest, nonzero), 0);
  return mul(dy, where(zero, atZero, elsewhere));
});

const axisOf = (call: GradientCall, otherwise: number): number =>
  normalizeAxis(intOf(call, "axis", otherwise), operand(call, 0).shape.length, call.op);

/** Ops that bring many elements down to one, and what works along an axis. */
export const reduceGradients = /* @__PURE__ */ defineGradients({
  ReduceSum: reduction(({ dy }) => dy),
  ReduceMean: reduction(({ x, dy, axes, call }) => {
    const shape = concreteShape(call, x);
    return scaled(dy, 1 / elementCount(axes.map((axis) => shape[axis])));
  }),
  ReduceMax: extreme,
  ReduceMin: extreme,
  ReduceProd: product,
  ReduceL1: reduction(({ x, dy }) => withSign(x, spread(dy, x))),
  ReduceL2: reduction(({ x, y, dy }) => mul(x, div(dy, where(equal(y, 0), 1, y)))), // 0 for a zero vector
  ReduceSumSquare: reduction(({ x, dy }) => mul(x, scaled(dy, 2))),
  ReduceLogSum: reduction(({ x, dy, axes }) => div(dy, reduceSum(x, axes))),
  ReduceLogSumExp: reduction(({ x, y, dy }) => mul(dy, exp(sub(x, y)))), // dy · softmax
  ArgMax: noGradient,
  ArgMin: noGradient,
  /** dx = y (dy − Σ dy y) */
  Softmax: unary(({ y, dy, call }) => {
    const weighted = times(dy, y);
    return mul(y, sub(dy, reduceSum(weighted, [axisOf(call, -1)])));
  }),
  /** dx = dy − softmax · Σ dy */
  LogSoftmax: unary(({ y, dy, call }) => {
    const axis = axisOf(call, -1);
    const total = sumToShape(
      dy,
      dy.shape.map((size, at) => (at === axis ? 1 : size)),
      call.op,
    );
    return plus(dy, mul(exp(y), scaled(total, -1)));
  }),
  /** Each element counts in the sums after it: the same sum in the other direction. */
  CumSum: unary(({ dy, call }) => {
    const [axis] = constantNumbers(call, 1) as readonly number[];
    const exclusive = intOf(call, "exclusive", 0) === 1;
    return cumSum(dy, axis, { exclusive, reverse: intOf(call, "reverse", 0) === 0 });
  }),
  /** Through the values only: each goes back to where it was found. */
  TopK: unary(({ x, dy, call }) => scatterElements(zeroBuffer(x, dy), call.outputs[1], dy, { axis: axisOf(call, -1) })),
});
