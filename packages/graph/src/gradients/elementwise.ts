import { elementCount } from "@loomweight/tensor";
import { floatOf, textOf } from "../attributes.ts";
import { elementsOf } from "../evaluate/numbers.ts";
import { scaled, sumToShape, times } from "../gradient/algebra.ts";
import { defineGradients, type GradientRule, noGradient, operand, unary } from "../gradient/rule.ts";
import {
  add,
  ceil,
  cos,
  div,
  erf,
  exp,
  floor,
  log,
  max,
  min,
  mul,
  neg,
  pow,
  sigmoid,
  sin,
  sub,
} from "../ops/elementwise.ts";
import { and, cast, equal, greater, greaterOrEqual, less, lessOrEqual, where } from "../ops/logic.ts";
import { isTensor, type Value } from "../value.ts";

interface BinaryCall {
  readonly a: Value;
  readonly b: Value;
  readonly y: Value;
  readonly dy: Value;
}

/** Rules of z = f(a, b): each gives dL/da or dL/db in the shape of z; it is summed to the operand's. */
function binary(left: (call: BinaryCall) => Value, right: (call: BinaryCall) => Value): GradientRule {
  return (call) => {
    const [dy] = call.upstream;
    if (dy === undefined) return [];
    const [a, b] = [operand(call, 0), operand(call, 1)];
    const facts = { a, b, y: call.outputs[0], dy };
    return [
      call.wants[0] ? sumToShape(left(facts), a.shape, call.op) : undefined,
      call.wants[1] ? sumToShape(right(facts), b.shape, call.op) : undefined,
    ];
  };
}

/** a^(b − 1) · b, where 0 · ∞ is 0 */
function powLeft({ a, b, dy }: BinaryCall): Value {
  const exponent = b.dtype === a.dtype ? b : cast(b, a.dtype);
  if (isTensor(exponent) && elementCount(exponent.shape) === 1) {
    const [number] = elementsOf(exponent);
    if (number === 0) return scaled(dy, 0);
    if (number === 1) return dy;
    if (number === 2) return times(dy, mul(a, 2));
    if (number === 3) return times(dy, mul(mul(a, a), 3));
    return times(dy, mul(pow(a, number - 1), number));
  }
  const slope = mul(exponent, pow(a, sub(exponent, 1)));
  return mul(dy, where(equal(exponent, 0), 0, slope));
}

/** y · log a; 0 where a is 0 and the power stays there */
function powRight({ a, b, y, dy }: BinaryCall): Value {
  const flat = and(equal(a, 0), greaterOrEqual(b, 0));
  return mul(dy, where(flat, 0, mul(y, log(where(equal(a, 0), 1, a)))));
}

/** The quotient without its fraction. */
function truncated(a: Value, b: Value): Value {
  const quotient = div(a, b);
  return where(less(quotient, 0), ceil(quotient), floor(quotient));
}

/** The larger (or smaller) gets all of it, each half where they are equal; more than two are taken in pairs from the left. */
function extreme(best: (a: Value, b: Value) => Value, wins: (a: Value, b: Value) => Value): GradientRule {
  return (call) => {
    const [dy] = call.upstream;
    if (dy === undefined) return [];
    const operands = call.inputs as readonly Value[];
    const partial: Value[] = [operands[0]];
    for (const next of operands.slice(1)) partial.push(best(partial[partial.length - 1], next));
    const parts = new Array<Value | undefined>(operands.length);
    let rest = dy;
    for (let index = operands.length - 1; index > 0; index--) {
      const [a, b] = [partial[index - 1], operands[index]];
      const half = where(equal(a, b), scaled(rest, 0.5), 0);
      if (call.wants[index]) parts[index] = sumToShape(where(wins(b, a), rest, half), b.shape, call.op);
      rest = sumToShape(where(wins(a, b), rest, half), a.shape, call.op);
    }
    parts[0] = rest;
    return parts;
  };
}

/** Rules of ops z = f(a, b), broadcast. */
export const binaryGradients = /* @__PURE__ */ defineGradients({
  Add: binary(
    ({ dy }) => dy,
    ({ dy }) => dy,
  ),
  Sub: binary(
    ({ dy }) => dy,
    ({ b, dy }) => scaled(sumToShape(dy, b.shape, "Sub"), -1), // summed first: there is less to negate
  ),
  Mul: binary(
    ({ b, dy }) => times(dy, b),
    ({ a, dy }) => times(dy, a),
  ),
  Div: binary(
    ({ b, dy }) => div(dy, b),
    ({ b, y, dy }) => neg(div(times(dy, y), b)), // d(a/b)/db = −(a/b)/b
  ),
  Pow: binary(powLeft, powRight),
  Mod: binary(
    ({ dy }) => dy,
    ({ a, b, dy }) => neg(times(dy, truncated(a, b))), // fmod: a − b · trunc(a / b)
  ),
  Max: extreme((a, b) => max(a, b), greater),
  Min: extreme((a, b) => min(a, b), less),
});

/** √(2/π) and the cubic coefficient of the tanh form of Gelu. */
const [tanhScale, tanhCubic] = [Math.sqrt(2 / Math.PI), 0.044715];

/** Φ(x) + x φ(x) */
function geluSlope(x: Value): Value {
  const cumulative = mul(add(erf(mul(x, Math.SQRT1_2)), 1), 0.5);
  const density = mul(exp(mul(mul(x, x), -0.5)), 1 / Math.sqrt(2 * Math.PI));
  return add(cumulative, mul(x, density));
}

/** With u = k (x + c x³), s = σ(2u): s + 2 x s (1 − s) u′ */
function tanhGeluSlope(x: Value): Value {
  const square = mul(x, x);
  const s = sigmoid(mul(x, add(mul(square, 2 * tanhScale * tanhCubic), 2 * tanhScale)));
  const slope = add(mul(square, 6 * tanhScale * tanhCubic), 2 * tanhScale);
  return mul(s, add(mul(mul(x, sub(1, s)), slope), 1));
}

/** dy where x is positive, −dy where it is negative, 0 at 0 */
export function withSign(x: Value, dy: Value): Value {
  return where(greater(x, 0), dy, where(less(x, 0), scaled(dy, -1), 0));
}

/** Rules of ops y = f(x). At kinks they choose what PyTorch chooses. */
export const unaryGradients = /* @__PURE__ */ defineGradients({
  Neg: unary(({ dy }) => scaled(dy, -1)),
  Abs: unary(({ x, dy }) => withSign(x, dy)), // 0 at 0
  Sign: noGradient,
  Floor: noGradient,
  Ceil: noGradient,
  Round: noGradient,
  Sqrt: unary(({ y, dy }) => div(dy, mul(y, 2))), // ∞ at 0
  Exp: unary(({ y, dy }) => times(dy, y)),
  Log: unary(({ x, dy }) => div(dy, x)),
  Tanh: unary(({ y, dy }) => times(dy, sub(1, mul(y, y)))),
  Sigmoid: unary(({ y, dy }) => times(dy, mul(y, sub(1, y)))),
  Erf: unary(({ x, dy }) => times(dy, mul(exp(scaled(mul(x, x), -1)), 2 / Math.sqrt(Math.PI)))),
  Relu: unary(({ y, dy }) => where(greater(y, 0), dy, 0)), // of the result, so that x is not kept
  LeakyRelu: unary(({ x, dy, call }) => where(greater(x, 0), dy, scaled(dy, floatOf(call, "alpha", 0.01)))),
  // Below 0 the slope α eˣ is y + α; y stays finite where eˣ would not.
  Elu: unary(({ x, y, dy, call }) => where(greater(x, 0), dy, times(dy, add(y, floatOf(call, "alpha", 1))))),
  Softplus: unary(({ x, dy }) => times(dy, sigmoid(x))),
  // Both bounds let the gradient pass.
  HardSigmoid: unary(({ x, dy, call }) => {
    const alpha = floatOf(call, "alpha", 0.2);
    const line = add(mul(x, alpha), floatOf(call, "beta", 0.5));
    return where(and(greaterOrEqual(line, 0), lessOrEqual(line, 1)), scaled(dy, alpha), 0);
  }),
  // 0 at −3, 1 at 3
  HardSwish: unary(({ x, dy }) => where(greater(x, -3), where(less(x, 3), times(dy, add(mul(x, 1 / 3), 0.5)), dy), 0)),
  Gelu: unary(({ x, dy, call }) =>
    times(dy, textOf(call, "approximate", "none") === "tanh" ? tanhGeluSlope(x) : geluSlope(x)),
  ),
  Reciprocal: unary(({ y, dy }) => times(dy, scaled(mul(y, y), -1))),
  Sin: unary(({ x, dy }) => times(dy, cos(x))),
  Cos: unary(({ x, dy }) => times(dy, scaled(sin(x), -1))),
  Identity: unary(({ dy }) => dy),
  Clip(call) {
    const [dy] = call.upstream;
    if (dy === undefined) return [];
    const [x, low, high] = call.inputs;
    // A bound lets the gradient pass: there and between x is unchanged.
    return [
      call.wants[0] ? where(equal(x as Value, call.outputs[0]), dy, 0) : undefined,
      call.wants[1] && low ? sumToShape(where(less(x as Value, low), dy, 0), low.shape, call.op) : undefined,
      call.wants[2] && high ? sumToShape(where(greater(x as Value, high), dy, 0), high.shape, call.op) : undefined,
    ];
  },
});
