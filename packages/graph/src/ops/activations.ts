import { elementCount, type Tensor } from "@loomweight/tensor";
import { float } from "../attributes.ts";
import { broadcast } from "../dims.ts";
import { elementsOf, tensorOf } from "../evaluate/numbers.ts";
import { broadcastStride, walkRows } from "../evaluate/walk.ts";
import { applyOne, defineOps, ruleOf, type Sample } from "../op.ts";
import type { Value } from "../value.ts";
import type { UnaryOp } from "./elementwise.ts";
import { badShape, inputOf, requireFloat, sameDtype } from "./same-dtype.ts";
import { attributeNumber, sigmoidOf, unary } from "./unary.ts";

const between = (low: number, high: number): readonly Sample[] => [{ inputs: [{ shape: [2, 5], low, high }] }];

const softplusOf = (x: number) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));

/** Slopes of Selu, as ONNX writes them. */
export const seluSlopes = { alpha: 1.6732631921768188, gamma: 1.0507010221481323 } as const;

/** ONNX activations, and trigonometric functions with their inverses. */
export const activationOps = /* @__PURE__ */ defineOps({
  Acos: unary({ f: Math.acos, samples: between(-0.9, 0.9) }),
  Acosh: unary({ f: Math.acosh, samples: between(1.1, 4) }),
  Asin: unary({ f: Math.asin, samples: between(-0.9, 0.9) }),
  Asinh: unary({ f: Math.asinh }),
  Atan: unary({ f: Math.atan }),
  Atanh: unary({ f: Math.atanh, samples: between(-0.9, 0.9) }),
  Cosh: unary({ f: Math.cosh }),
  Sinh: unary({ f: Math.sinh }),
  Tan: unary({ f: Math.tan, samples: between(-1.2, 1.2) }),
  Celu: unary({
    f: (x, call) => {
      const alpha = attributeNumber(call, "alpha", 1);
      return x > 0 ? x : alpha * Math.expm1(x / alpha);
    },
    samples: [{ inputs: [[2, 5]] }, { inputs: [[2, 5]], attributes: { alpha: float(1.5) } }],
  }),
  Selu: unary({
    f: (x, call) => {
      const gamma = attributeNumber(call, "gamma", seluSlopes.gamma);
      return x > 0 ? gamma * x : gamma * attributeNumber(call, "alpha", seluSlopes.alpha) * Math.expm1(x);
    },
  }),
  Mish: unary({ f: (x) => x * Math.tanh(softplusOf(x)) }),
  Softsign: unary({ f: (x) => x / (1 + Math.abs(x)) }),
  /** Opset 24. */
  Swish: unary({
    f: (x, call) => x * sigmoidOf(attributeNumber(call, "alpha", 1) * x),
    samples: [{ inputs: [[2, 5]] }, { inputs: [[2, 5]], attributes: { alpha: float(1.7) } }],
  }),
  ThresholdedRelu: unary({
    f: (x, call) => (x > attributeNumber(call, "alpha", 1) ? x : 0),
    samples: [{ inputs: [[2, 5]], attributes: { alpha: float(0.5) } }],
  }),
  PRelu: {
    inputs: [2, 2],
    infer(call) {
      requireFloat(call, 0);
      const { shape } = inputOf(call, 0);
      const slope = inputOf(call, 1).shape;
      const wide = broadcast([shape, slope], call.op);
      if (`${wide}` !== `${shape}`) throw badShape(call, `a slope of [${slope}] does not fit into [${shape}]`);
      return [{ dtype: sameDtype(call), shape }];
    },
    evaluate(call) {
      const [x, slope] = call.inputs as [Tensor, Tensor];
      const [values, slopes] = [elementsOf(x), elementsOf(slope)];
      const out = new Float64Array(elementCount(x.shape));
      walkRows(x.shape, [broadcastStride(slope.shape, x.shape)], (o, count, [at], [step]) => {
        for (let i = 0; i < count; i++) {
          const value = values[o + i];
          out[o + i] = value < 0 ? value * slopes[at + i * step] : value;
        }
      });
      return [tensorOf(out, x.shape, x.dtype)];
    },
    samples: [
      {
        inputs: [
          [2, 3, 4],
          [3, 1],
        ],
      },
      { inputs: [[2, 5], []] },
    ],
  },
});

const activationOp = (op: keyof typeof activationOps): UnaryOp =>
  ((x: Value) => applyOne(ruleOf(activationOps, op), [x])) as UnaryOp;

export const acos: UnaryOp = activationOp("Acos");
export const acosh: UnaryOp = activationOp("Acosh");
export const asin: UnaryOp = activationOp("Asin");
export const asinh: UnaryOp = activationOp("Asinh");
export const atan: UnaryOp = activationOp("Atan");
export const atanh: UnaryOp = activationOp("Atanh");
export const cosh: UnaryOp = activationOp("Cosh");
export const sinh: UnaryOp = activationOp("Sinh");
export const tan: UnaryOp = activationOp("Tan");
/** x · tanh(softplus(x)) */
export const mish: UnaryOp = activationOp("Mish");
/** x / (1 + |x|). No WebGPU kernel. */
export const softsign: UnaryOp = activationOp("Softsign");

/** x where it is positive, alpha · (e^(x / alpha) − 1) elsewhere. No WebGPU kernel. */
export function celu(x: Value, alpha = 1): Value {
  return applyOne(ruleOf(activationOps, "Celu"), [x], { alpha: float(alpha) });
}

/** x · sigmoid(alpha · x); ONNX opset 24 */
export function swish(x: Value, alpha = 1): Value {
  return applyOne(ruleOf(activationOps, "Swish"), [x], alpha === 1 ? {} : { alpha: float(alpha) });
}

/** x where it is above `alpha`, 0 elsewhere */
export function thresholdedRelu(x: Value, alpha = 1): Value {
  return applyOne(ruleOf(activationOps, "ThresholdedRelu"), [x], { alpha: float(alpha) });
}

/** x where it is at least 0, slope · x elsewhere; the slope is broadcast to x. */
export function prelu(x: Value, slope: Value): Value {
  return applyOne(ruleOf(activationOps, "PRelu"), [x, slope]);
}
