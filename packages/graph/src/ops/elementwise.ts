import { type DType, fromData, LoomweightError, type Tensor } from "@loomweight/tensor";
import { float, floatOf, int, intOf, text, textOf } from "../attributes.ts";
import { addDims, broadcast, divideDims, multiplyDims, subtractDims } from "../dims.ts";
import { allocateResult, kernelsHolding } from "../evaluate/kernel-memory.ts";
import { bigElementsOf, elementsOf, isBig, tensorOf } from "../evaluate/numbers.ts";
import { erf as erfOf } from "../evaluate/special.ts";
import { broadcastStride, walkRows } from "../evaluate/walk.ts";
import {
  applyOne,
  type ConstantCall,
  defineOps,
  knownElements,
  type OpCall,
  type OpRule,
  ruleOf,
  type Sample,
} from "../op.ts";
import type { Dim, Operand, Value } from "../value.ts";
import { inputOf, sameDtype } from "./same-dtype.ts";
import { attributeNumber, noIntegers, positive, sigmoidOf, unary } from "./unary.ts";

/** out[o + i] = a[at + i * aStep] ∘ b[bt + i * bStep] for i < count. */
type Loop = (
  out: Float64Array,
  o: number,
  a: Float64Array,
  at: number,
  aStep: number,
  b: Float64Array,
  bt: number,
  bStep: number,
  count: number,
) => void;

interface BinaryFacts {
  readonly loop: Loop;
  /** The same on operands of one shape in kernel memory. */
  readonly kernel?: "add" | "subtract" | "multiply" | "divide";
  /** The same on 64-bit integers. */
  readonly big?: (a: bigint, b: bigint) => bigint;
  /** The same on sizes. */
  readonly dims?: (a: Dim, b: Dim) => Dim;
  readonly samples: readonly Sample[];
}

/** Slow path of ops that are not worth a loop of their own. */
const each =
  (f: (a: number, b: number) => number): Loop =>
  (out, o, a, at, aStep, b, bt, bStep, count) => {
    for (let i = 0; i < count; i++) out[o + i] = f(a[at + i * aStep], b[bt + i * bStep]);
  };

function binary(facts: BinaryFacts): OpRule {
  return {
    inputs: [2, 2],
    infer(call) {
      const dtype = sameDtype(call);
      const shape = broadcast([inputOf(call, 0).shape, inputOf(call, 1).shape], call.op);
      return [{ dtype, shape, known: knownBinary(call, facts.dims) }];
    },
    evaluate: (call) => [evaluateBinary(call, facts)],
    samples: facts.samples,
  };
}

function knownBinary(call: OpCall, dims: BinaryFacts["dims"]): Dim[] | undefined {
  if (dims === undefined) return undefined;
  const a = knownElements(call.inputs[0]);
  const b = knownElements(call.inputs[1]);
  if (a === undefined || b === undefined) return undefined;
  if (a.length !== b.length && a.length !== 1 && b.length !== 1) return undefined;
  return Array.from({ length: Math.max(a.length, b.length) }, (_, i) =>
    dims(a[a.length === 1 ? 0 : i], b[b.length === 1 ? 0 : i]),
  );
}

function evaluateBinary(call: ConstantCall, facts: Pick<BinaryFacts, "loop" | "big" | "kernel">): Tensor {
  const [a, b] = call.inputs as [Tensor, Tensor];
  const { dtype, shape } = call.types[0];
  const strides = [broadcastStride(a.shape, shape), broadcastStride(b.shape, shape)];
  if (isBig(a.dtype) && isBig(b.dtype)) {
    const { big } = facts;
    if (big === undefined) throw noIntegers(call.op, dtype);
    const [x, y] = [bigElementsOf(a), bigElementsOf(b)];
    const out = new (dtype === "int64" ? BigInt64Array : BigUint64Array)(shape.reduce((m, n) => m * n, 1));
    walkRows(shape, strides, (o, count, [at, bt], [aStep, bStep]) => {
      for (let i = 0; i < count; i++) out[o + i] = big(x[at + i * aStep], y[bt + i * bStep]);
    });
    return fromData<DType>(dtype, out, shape);
  }
  const [x, y] = [elementsOf(a), elementsOf(b)];
  const out = allocateResult(shape.reduce((m, n) => m * n, 1));
  if (facts.kernel !== undefined && x.length === out.length && y.length === out.length) {
    const kernels = kernelsHolding(out, x, y);
    if (kernels !== undefined) {
      kernels[facts.kernel](out, x, y);
      return tensorOf(out, shape, dtype);
    }
  }
  walkRows(shape, strides, (o, count, [at, bt], [aStep, bStep]) => {
    facts.loop(out, o, x, at, aStep, y, bt, bStep, count);
  });
  return tensorOf(dtype === "int32" || dtype === "int8" || dtype === "int16" ? out.map(Math.trunc) : out, shape, dtype);
}

function divideBig(a: bigint, b: bigint): bigint {
  if (b === 0n) throw new LoomweightError({ code: "INVALID_OPERAND", problem: "Div: an integer is divided by zero" });
  return a / b;
}

/** a to the power b modulo 2^64, in time that does not depend on the size of the result. */
function powBig(a: bigint, b: bigint): bigint {
  if (b < 0n) return a === 1n ? 1n : a === -1n ? (b % 2n === 0n ? 1n : -1n) : 0n;
  let [result, base] = [1n, a];
  for (let rest = b; rest > 0n; rest >>= 1n) {
    if (rest & 1n) result = BigInt.asIntN(64, result * base);
    base = BigInt.asIntN(64, base * base);
  }
  return result;
}

const broadcastSamples: readonly Sample[] = [
  {
    inputs: [
      [2, 3],
      [2, 3],
    ],
  },
  {
    inputs: [
      [2, 1, 3],
      [4, 1],
    ],
  },
  { inputs: [[2, 3], []] },
  { inputs: [[3], [2, 2, 3]] },
  { inputs: [[0, 3], [3]] },
];
const integerSample: Sample = {
  inputs: [
    { shape: [3], dtype: "int64", values: [7, -7, 5] },
    { shape: [3], dtype: "int64", values: [2, 2, -3] },
  ],
  constants: [],
};
const smallIntegerSample: Sample = {
  inputs: [
    { shape: [3], dtype: "int32", values: [7, -7, 5] },
    { shape: [1], dtype: "int32", values: [2] },
  ],
};

/** ONNX ops z = f(x, y), broadcast. Floats are computed in float64 and rounded once. */
export const binaryOps = /* @__PURE__ */ defineOps({
  Add: binary({
    kernel: "add",
    loop: (out, o, a, at, aStep, b, bt, bStep, count) => {
      if (aStep === 1 && bStep === 1) for (let i = 0; i < count; i++) out[o + i] = a[at + i] + b[bt + i];
      else if (aStep === 1 && bStep === 0) {
        const own = b[bt];
        for (let i = 0; i < count; i++) out[o + i] = a[at + i] + own;
      } else for (let i = 0; i < count; i++) out[o + i] = a[at + i * aStep] + b[bt + i * bStep];
    },
    big: (a, b) => a + b,
    dims: addDims,
    samples: [...broadcastSamples, integerSample, smallIntegerSample],
  }),
  Sub: binary({
    kernel: "subtract",
    loop: (out, o, a, at, aStep, b, bt, bStep, count) => {
      if (aStep === 1 && bStep === 1) for (let i = 0; i < count; i++) out[o + i] = a[at + i] - b[bt + i];
      else if (aStep === 1 && bStep === 0) {
        const own = b[bt];
        for (let i = 0; i < count; i++) out[o + i] = a[at + i] - own;
      } else for (let i = 0; i < count; i++) out[o + i] = a[at + i * aStep] - b[bt + i * bStep];
    },
    big: (a, b) => a - b,
    dims: subtractDims,
    samples: [...broadcastSamples, integerSample, smallIntegerSample],
  }),
  Mul: binary({
    kernel: "multiply",
    loop: (out, o, a, at, aStep, b, bt, bStep, count) => {
      if (aStep === 1 && bStep === 1) for (let i = 0; i < count; i++) out[o + i] = a[at + i] * b[bt + i];
      else if (aStep === 1 && bStep === 0) {
        const own = b[bt];
        for (let i = 0; i < count; i++) out[o + i] = a[at + i] * own;
      } else for (let i = 0; i < count; i++) out[o + i] = a[at + i * aStep] * b[bt + i * bStep];
    },
    big: (a, b) => a * b,
    dims: multiplyDims,
    samples: [...broadcastSamples, integerSample, smallIntegerSample],
  }),
  Div: binary({
    kernel: "divide",
    loop: (out, o, a, at, aStep, b, bt, bStep, count) => {
      for (let i = 0; i < count; i++) out[o + i] = a[at + i * aStep] / b[bt + i * bStep];
    },
    big: divideBig,
    dims: divideDims,
    samples: [
      { inputs: [[2, 3], { shape: [2, 3], low: 0.5, high: 3 }] },
      { inputs: [[2, 3], { shape: [], values: [4] }] },
      integerSample,
      smallIntegerSample,
    ],
  }),
  Pow: {
    inputs: [2, 2],
    infer: (call) => [
      {
        dtype: inputOf(call, 0).dtype,
        shape: broadcast([inputOf(call, 0).shape, inputOf(call, 1).shape], call.op),
      },
    ],
    evaluate: (call) => [evaluateBinary(call, { loop: each((a, b) => (b === 2 ? a * a : a ** b)), big: powBig })],
    samples: [
      { inputs: [{ shape: [2, 3], low: 0.1, high: 3 }, [3]] },
      { inputs: [[2, 3], { shape: [], values: [2] }] },
      {
        inputs: [
          { shape: [3], dtype: "int64", values: [2, -3, 7] },
          { shape: [3], values: [3, 3, 2] },
        ],
      },
    ],
  },
  Mod: {
    inputs: [2, 2],
    infer: (call) => [
      { dtype: sameDtype(call), shape: broadcast([inputOf(call, 0).shape, inputOf(call, 1).shape], call.op) },
    ],
    evaluate(call) {
      const fmod = intOf(call, "fmod", 0) === 1;
      const sign = (a: number, b: number) => a - b * Math.floor(a / b);
      return [
        evaluateBinary(call, {
          loop: each(fmod ? (a, b) => a % b : sign),
          big: (a, b) => (fmod || a % b === 0n || a < 0n === b < 0n ? a % b : (a % b) + b),
        }),
      ];
    },
    samples: [integerSample, { inputs: [[2, 3], { shape: [3], low: 0.5, high: 1 }], attributes: { fmod: int(1) } }],
  },
  Min: variadic(
    Math.min,
    // biome-ignore lint/complexity/useMathMinMax: Math.min does not take bigint
    (a, b) => (a < b ? a : b),
  ),
  Max: variadic(
    Math.max,
    // biome-ignore lint/complexity/useMathMinMax: Math.max does not take bigint
    (a, b) => (a > b ? a : b),
  ),
});

function variadic(f: (a: number, b: number) => number, big: (a: bigint, b: bigint) => bigint): OpRule {
  return {
    inputs: [1, Number.POSITIVE_INFINITY],
    infer: (call) => [
      {
        dtype: sameDtype(call),
        shape: broadcast(
          call.inputs.map((_, index) => inputOf(call, index).shape),
          call.op,
        ),
      },
    ],
    evaluate(call) {
      let result = call.inputs[0] as Tensor;
      for (const next of call.inputs.slice(1) as Tensor[]) {
        const types = [{ dtype: result.dtype, shape: broadcast([result.shape, next.shape], call.op) as number[] }];
        result = evaluateBinary({ ...call, inputs: [result, next], types }, { loop: each(f), big });
      }
      return [result];
    },
    samples: [{ inputs: [[2, 3]] }, { inputs: [[2, 3], [3]] }, { inputs: [[2, 3], [3], [2, 1]] }, integerSample],
  };
}

const tanhGelu = (x: number) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));
const halfToEven = (x: number) => {
  const rounded = Math.round(x);
  return Math.abs(x % 1) === 0.5 && rounded % 2 !== 0 ? rounded - 1 : rounded;
};

/** ONNX ops y = f(x), element by element, in float64 and rounded once. */
export const unaryOps = /* @__PURE__ */ defineOps({
  Neg: unary({ f: (x) => -x, big: (x) => -x, integers: true }),
  Abs: unary({ f: Math.abs, big: (x) => (x < 0n ? -x : x), integers: true }),
  Sign: unary({ f: Math.sign, big: (x) => (x > 0n ? 1n : x < 0n ? -1n : 0n), integers: true }),
  Sqrt: unary({ f: Math.sqrt, samples: positive }),
  Exp: unary({ f: Math.exp }),
  Log: unary({ f: Math.log, samples: positive }),
  Tanh: unary({ f: Math.tanh }),
  Sigmoid: unary({ f: sigmoidOf }),
  Erf: unary({ f: erfOf }),
  Relu: unary({ f: (x) => Math.max(x, 0) }),
  LeakyRelu: unary({ f: (x, call) => (x < 0 ? x * attributeNumber(call, "alpha", 0.01) : x) }),
  Elu: unary({ f: (x, call) => (x < 0 ? floatOf(call, "alpha", 1) * Math.expm1(x) : x) }),
  Softplus: unary({ f: (x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x))) }),
  HardSigmoid: unary({
    f: (x, call) => Math.min(1, Math.max(0, floatOf(call, "alpha", 0.2) * x + floatOf(call, "beta", 0.5))),
  }),
  HardSwish: unary({ f: (x) => x * Math.min(1, Math.max(0, x / 6 + 0.5)) }),
  Gelu: unary({
    f: (x, call) =>
      textOf(call, "approximate", "none") === "tanh" ? tanhGelu(x) : 0.5 * x * (1 + erfOf(x * Math.SQRT1_2)),
    samples: [{ inputs: [[2, 5]] }, { inputs: [[2, 5]], attributes: { approximate: text("tanh") } }],
  }),
  Reciprocal: unary({ f: (x) => 1 / x, samples: positive }),
  Sin: unary({ f: Math.sin }),
  Cos: unary({ f: Math.cos }),
  Floor: unary({ f: Math.floor }),
  Ceil: unary({ f: Math.ceil }),
  Round: unary({ f: halfToEven, samples: [{ inputs: [{ shape: [6], values: [-2.5, -1.5, -0.4, 0.5, 1.5, 2.7] }] }] }),
  Identity: {
    inputs: [1, 1],
    infer: (call) => [{ ...inputOf(call, 0), tensor: undefined, known: knownElements(call.inputs[0]) }],
    evaluate: (call) => [call.inputs[0] as Tensor],
    samples: [{ inputs: [[2, 3]] }],
  },
  Clip: {
    inputs: [1, 3],
    infer(call) {
      const { dtype, shape } = inputOf(call, 0);
      return [{ dtype, shape }];
    },
    evaluate(call) {
      const x = call.inputs[0] as Tensor;
      const bound = (index: number, attribute: string, otherwise: number) => {
        const given = call.inputs[index];
        return given === undefined ? floatOf(call, attribute, otherwise) : elementsOf(given)[0];
      };
      const low = bound(1, "min", Number.NEGATIVE_INFINITY);
      const high = bound(2, "max", Number.POSITIVE_INFINITY);
      return [
        tensorOf(
          elementsOf(x).map((value) => Math.min(high, Math.max(low, value))),
          x.shape,
          x.dtype,
        ),
      ];
    },
    samples: [
      { inputs: [[2, 5], { shape: [], values: [-1] }, { shape: [], values: [0.5] }] },
      { inputs: [[2, 5], undefined, { shape: [], values: [0.5] }] },
    ],
  },
});

/** An elementwise op of two operands, broadcast as ONNX does. Two tensors are computed at once. */
export interface BinaryOp {
  (a: Tensor | number, b: Tensor | number): Tensor;
  (a: Operand, b: Operand): Value;
}

/** An elementwise op of one operand, of its shape and dtype. A tensor is computed at once. */
export interface UnaryOp {
  (x: Tensor): Tensor;
  (x: Value): Value;
}

const binaryOp = (op: keyof typeof binaryOps): BinaryOp =>
  ((a: Operand, b: Operand) => applyOne(ruleOf(binaryOps, op), [a, b])) as BinaryOp;
const unaryOp = (op: keyof typeof unaryOps): UnaryOp => ((x: Value) => applyOne(ruleOf(unaryOps, op), [x])) as UnaryOp;

/** a + b */
export const add: BinaryOp = binaryOp("Add");
/** a − b */
export const sub: BinaryOp = binaryOp("Sub");
/** a · b, element by element */
export const mul: BinaryOp = binaryOp("Mul");
/** a / b; integers round towards zero */
export const div: BinaryOp = binaryOp("Div");
/** a to the power b; the dtype is that of a */
export const pow: BinaryOp = binaryOp("Pow");
/** −x */
export const neg: UnaryOp = unaryOp("Neg");
/** |x| */
export const abs: UnaryOp = unaryOp("Abs");
/** −1, 0 or 1. No WebGPU kernel. */
export const sign: UnaryOp = unaryOp("Sign");
export const sqrt: UnaryOp = unaryOp("Sqrt");
export const exp: UnaryOp = unaryOp("Exp");
/** Natural logarithm */
export const log: UnaryOp = unaryOp("Log");
export const tanh: UnaryOp = unaryOp("Tanh");
/** 1 / (1 + e^−x) */
export const sigmoid: UnaryOp = unaryOp("Sigmoid");
export const erf: UnaryOp = unaryOp("Erf");
export const relu: UnaryOp = unaryOp("Relu");
/** 1 / x */
export const reciprocal: UnaryOp = unaryOp("Reciprocal");
export const sin: UnaryOp = unaryOp("Sin");
export const cos: UnaryOp = unaryOp("Cos");
export const floor: UnaryOp = unaryOp("Floor");
export const ceil: UnaryOp = unaryOp("Ceil");
/** To the nearest whole number, ties to even. No WebGPU kernel. */
export const round: UnaryOp = unaryOp("Round");
export const softplus: UnaryOp = unaryOp("Softplus");
export const identity: UnaryOp = unaryOp("Identity");

/** x · Φ(x), exact by erf, or the tanh form. ONNX opset 20. */
export function gelu(x: Tensor, approximate?: "none" | "tanh"): Tensor;
export function gelu(x: Value, approximate?: "none" | "tanh"): Value;
export function gelu(x: Value, approximate: "none" | "tanh" = "none"): Value {
  return applyOne(ruleOf(unaryOps, "Gelu"), [x], approximate === "none" ? {} : { approximate: text(approximate) });
}

/** x where it is at least 0, alpha · x elsewhere */
export function leakyRelu(x: Value, alpha = 0.01): Value {
  return applyOne(ruleOf(unaryOps, "LeakyRelu"), [x], { alpha: float(alpha) });
}

/** x brought between `low` and `high`; either may be left out. */
export function clip(x: Tensor, low?: Tensor | number, high?: Tensor | number): Tensor;
export function clip(x: Value, low?: Operand, high?: Operand): Value;
export function clip(x: Value, low?: Operand, high?: Operand): Value {
  return applyOne(ruleOf(unaryOps, "Clip"), [x, low, high]);
}

/** Remainder of a / b: with the sign of b (integers), or with `fmod` that of a as C does (floats need it). */
export function mod(a: Operand, b: Operand, { fmod = false }: { fmod?: boolean } = {}): Value {
  return applyOne(ruleOf(binaryOps, "Mod"), [a, b], fmod ? { fmod: int(1) } : {});
}

/** Smallest of the operands, element by element */
export function min(...operands: Tensor[]): Tensor;
export function min(...operands: Operand[]): Value;
export function min(...operands: Operand[]): Value {
  return applyOne(ruleOf(binaryOps, "Min"), operands);
}

/** Largest of the operands, element by element */
export function max(...operands: Tensor[]): Tensor;
export function max(...operands: Operand[]): Value;
export function max(...operands: Operand[]): Value {
  return applyOne(ruleOf(binaryOps, "Max"), operands);
}
