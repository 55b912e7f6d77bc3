import { floatOf } from "../attributes.ts";
import { scaled, sumToShape, times } from "../gradient/algebra.ts";
import { defineGradients, operand, unary } from "../gradient/rule.ts";
import { cosh, seluSlopes, sinh } from "../ops/activations.ts";
import { abs, add, div, exp, min, mul, reciprocal, sigmoid, softplus, sqrt, sub, tanh } from "../ops/elementwise.ts";
import { greater, less, where } from "../ops/logic.ts";
import type { Value } from "../value.ts";

const square = (x: Value): Value => mul(x, x);

/** Activations, trigonometric functions and their inverses. At kinks they choose what PyTorch chooses. */
export const activationGradients = /* @__PURE__ */ defineGradients({
  Acos: unary(({ x, dy }) => scaled(div(dy, sqrt(sub(1, square(x)))), -1)),
  Acosh: unary(({ x, dy }) => div(dy, sqrt(mul(sub(x, 1), add(x, 1))))),
  Asin: unary(({ x, dy }) => div(dy, sqrt(sub(1, square(x))))),
  Asinh: unary(({ x, dy }) => div(dy, sqrt(add(square(x), 1)))),
  Atan: unary(({ x, dy }) => div(dy, add(square(x), 1))),
  Atanh: unary(({ x, dy }) => div(dy, sub(1, square(x)))),
  Cosh: unary(({ x, dy }) => times(dy, sinh(x))),
  Sinh: unary(({ x, dy }) => times(dy, cosh(x))),
  Tan: unary(({ y, dy }) => times(dy, add(square(y), 1))),
  Celu: unary(({ x, dy, call }) =>
    where(greater(x, 0), dy, times(dy, exp(scaled(min(x, 0), 1 / floatOf(call, "alpha", 1))))),
  ),
  // γ α eˣ below 0, and half of it at 0, as recorded.
  Selu: unary(({ x, dy, call }) => {
    const gamma = floatOf(call, "gamma", seluSlopes.gamma);
    const steep = gamma * floatOf(call, "alpha", seluSlopes.alpha);
    const left = where(less(x, 0), mul(exp(min(x, 0)), steep), steep / 2);
    return where(greater(x, 0), scaled(dy, gamma), times(dy, left));
  }),
  /** t + x (1 − t²) σ(x) with t = tanh(softplus(x)) */
  Mish: unary(({ x, dy }) => {
    const t = tanh(softplus(x));
    return times(dy, add(t, mul(mul(x, sub(1, square(t))), sigmoid(x))));
  }),
  Softsign: unary(({ x, dy }) => times(dy, square(reciprocal(add(abs(x), 1))))),
  /** s + α x s (1 − s) with s = σ(α x) */
  Swish: unary(({ x, dy, call }) => {
    const inner = scaled(x, floatOf(call, "alpha", 1));
    const s = sigmoid(inner);
    return times(dy, mul(s, add(mul(inner, sub(1, s)), 1)));
  }),
  ThresholdedRelu: unary(({ x, dy, call }) => where(greater(x, floatOf(call, "alpha", 1)), dy, 0)),
  PRelu(call) {
    const [dy] = call.upstream;
    if (dy === undefined) return [];
    const [x, slope] = [operand(call, 0), operand(call, 1)];
    const positive = greater(x, 0);
    return [
      call.wants[0] ? where(positive, dy, mul(dy, slope)) : undefined,
      call.wants[1] ? sumToShape(where(positive, 0, mul(dy, x)), slope.shape, call.op) : undefined,
    ];
  },
});
