import { allocate, type DType, elementCount, fromData, rowMajorStride, type Tensor } from "@loomweight/tensor";
import { int, intOf } from "../attributes.ts";
import { normalizeAxis, productOf, unknownDim } from "../dims.ts";
import { kernelsHolding } from "../evaluate/kernel-memory.ts";
import { bigElementsOf, elementsOf, isBig, tensorOf } from "../evaluate/numbers.ts";
import { walkRows } from "../evaluate/walk.ts";
import {
  apply,
  applyOne,
  type ConstantCall,
  defineOps,
  int64Vector,
  integersOf,
  knownElements,
  knownNumbers,
  type OpCall,
  type OpRule,
  ruleOf,
  type Sample,
} from "../op.ts";
import type { Dim, Value } from "../value.ts";
import { inputOf, requireFloat } from "./same-dtype.ts";
import { axesOf, constantAxes } from "./shape.ts";

interface Fold {
  readonly first: number;
  /** total ∘ next value */
  readonly step: (total: number, value: number) => number;
  readonly last?: (total: number, count: number) => number;
  /** The same over a run of values in kernel memory. */
  readonly kernel?: "sum";
  readonly big?: { readonly first: bigint | undefined; readonly step: (total: bigint, value: bigint) => bigint };
  /** All axes reduced: the result on sizes. */
  readonly dims?: (sizes: readonly Dim[]) => Dim;
}

function reduction(fold: Fold): OpRule {
  return {
    inputs: [1, 2],
    infer(call) {
      const { dtype, shape } = inputOf(call, 0);
      const keep = intOf(call, "keepdims", 1) === 1;
      if (reducesNothing(call)) return [{ dtype, shape }];
      const given = call.inputs[1] !== undefined || call.attributes.axes !== undefined;
      const all = shape.map((_, axis) => axis);
      const named = given ? axesOf(call, 1, shape.length) : all;
      const axes = named?.length === 0 ? all : named; // no axes named: all of them
      if (axes === undefined) return [{ dtype, shape: keep ? shape.map(() => unknownDim) : unknownRank(call, shape) }];
      const known = knownElements(call.inputs[0]);
      const out = keep
        ? shape.map((dim, axis): Dim => (axes.includes(axis) ? 1 : dim))
        : shape.filter((_, axis) => !axes.includes(axis));
      return [{ dtype, shape: out, known: known && shape.length === 1 && fold.dims ? [fold.dims(known)] : undefined }];
    },
    evaluate: (call) => [evaluateReduction(call, fold)],
    samples: reductionSamples,
  };
}

function reducesNothing(call: OpCall): boolean {
  const axes = call.inputs[1];
  return intOf(call, "noop_with_empty_axes", 0) === 1 && (axes === undefined || knownNumbers(axes)?.length === 0);
}

function unknownRank(call: OpCall, shape: readonly Dim[]): Dim[] {
  const count = call.inputs[1]?.shape[0];
  return new Array<Dim>(typeof count === "number" ? Math.max(0, shape.length - count) : 0).fill(unknownDim);
}

function evaluateReduction(call: ConstantCall, fold: Fold): Tensor {
  const x = call.inputs[0] as Tensor;
  const { dtype, shape } = call.types[0];
  const given = constantAxes(call);
  const none = intOf(call, "noop_with_empty_axes", 0) === 1 && (given ?? []).length === 0;
  const all = x.shape.map((_, axis) => axis);
  const axes =
    given === undefined || given.length === 0
      ? none
        ? []
        : all
      : given.map((axis) => normalizeAxis(axis, x.shape.length, call.op));
  // The result read along the input's axes: stride 0 where an axis is reduced.
  const kept = x.shape.map((size, axis) => (axes.includes(axis) ? 1 : size));
  const keptStride = rowMajorStride(kept).map((step, axis) => (axes.includes(axis) ? 0 : step));
  const strides = [rowMajorStride(x.shape), keptStride];
  if (isBig(dtype) && fold.big !== undefined) {
    const data = bigElementsOf(x);
    const out: (bigint | undefined)[] = new Array(elementCount(kept)).fill(fold.big.first);
    const { step } = fold.big;
    walkRows(x.shape, strides, (_, count, [at, to], [, toStep]) => {
      for (let i = 0; i < count; i++) {
        const total = out[to + i * toStep];
        out[to + i * toStep] = total === undefined ? data[at + i] : step(total, data[at + i]);
      }
    });
    const codes = (dtype === "int64" ? BigInt64Array : BigUint64Array).from(out as bigint[]);
    return fromData<DType>(dtype, codes as BigInt64Array, shape);
  }
  const data = elementsOf(x);
  const out = new Float64Array(elementCount(kept)).fill(fold.first);
  const { step, last } = fold;
  const kernels = fold.kernel === undefined ? undefined : kernelsHolding(data);
  walkRows(x.shape, strides, (_, count, [at, to], [fromStep, toStep]) => {
    if (kernels !== undefined && fold.kernel !== undefined && fromStep === 1 && toStep === 0) {
      out[to] = step(out[to], kernels[fold.kernel](data.subarray(at, at + count)));
    } else if (toStep === 0) {
      let total = out[to];
      for (let i = 0; i < count; i++) total = step(total, data[at + i * fromStep]);
      out[to] = total;
    } else {
      for (let i = 0; i < count; i++) out[to + i * toStep] = step(out[to + i * toStep], data[at + i * fromStep]);
    }
  });
  const perResult = elementCount(x.shape) / Math.max(1, out.length);
  if (last !== undefined) for (let i = 0; i < out.length; i++) out[i] = last(out[i], perResult);
  return tensorOf(out, shape, dtype);
}

const reductionSamples: readonly Sample[] = [
  { inputs: [[2, 3, 4], { shape: [1], dtype: "int64", values: [1] }] },
  { inputs: [[2, 3, 4], { shape: [2], dtype: "int64", values: [0, -1] }], attributes: { keepdims: int(0) } },
  { inputs: [[2, 3]] },
  { inputs: [[2, 3]], attributes: { noop_with_empty_axes: int(1) } },
];

interface Axis {
  readonly axis: number;
  readonly outer: number;
  readonly size: number;
  readonly inner: number;
}

function splitAt(shape: readonly number[], given: number, op: string): Axis {
  const axis = normalizeAxis(given, shape.length, op);
  return {
    axis,
    outer: elementCount(shape.slice(0, axis)),
    size: shape[axis] ?? 1,
    inner: elementCount(shape.slice(axis + 1)),
  };
}

/** Index of the first (or last) extreme along an axis. */
function argumentRule(better: (a: number, b: number) => boolean): OpRule {
  return {
    inputs: [1, 1],
    infer(call) {
      const { shape } = inputOf(call, 0);
      const axis = normalizeAxis(intOf(call, "axis", 0), shape.length, call.op);
      const keep = intOf(call, "keepdims", 1) === 1;
      return [
        {
          dtype: "int64",
          shape: keep ? shape.map((dim, at) => (at === axis ? 1 : dim)) : shape.filter((_, at) => at !== axis),
        },
      ];
    },
    evaluate(call) {
      const x = call.inputs[0] as Tensor;
      const { outer, size, inner } = splitAt(x.shape, intOf(call, "axis", 0), call.op);
      const lastWins = intOf(call, "select_last_index", 0) === 1;
      const data = elementsOf(x);
      const out = allocate("int64", outer * inner);
      for (let i = 0; i < outer * inner; i++) {
        const start = Math.floor(i / inner) * size * inner + (i % inner);
        let best = 0;
        for (let k = 1; k < size; k++) {
          const [next, now] = [data[start + k * inner], data[start + best * inner]];
          if (better(next, now) || (lastWins && next === now)) best = k;
        }
        out[i] = BigInt(best);
      }
      return [fromData("int64", out, call.types[0].shape)];
    },
    samples: [
      { inputs: [[3, 4]], attributes: { axis: int(1) } },
      { inputs: [{ shape: [4], values: [1, 3, 3, 0] }], attributes: { keepdims: int(0) } },
      { inputs: [{ shape: [4], values: [1, 3, 3, 0] }], attributes: { select_last_index: int(1) } },
    ],
  };
}

/** exp(x − max) / Σ exp(x − max) along an axis, or its logarithm. */
function softmaxRule(logarithm: boolean): OpRule {
  return {
    inputs: [1, 1],
    infer(call) {
      requireFloat(call, 0);
      const { dtype, shape } = inputOf(call, 0);
      normalizeAxis(intOf(call, "axis", -1), shape.length, call.op);
      return [{ dtype, shape }];
    },
    evaluate(call) {
      const x = call.inputs[0] as Tensor;
      // Before opset 13 the axes from `axis` (default 1) on were taken together.
      const old = call.opset < 13;
      const at = splitAt(x.shape, intOf(call, "axis", old ? 1 : -1), call.op);
      const { outer, size, inner } = old ? { ...at, size: at.size * at.inner, inner: 1 } : at;
      const data = elementsOf(x);
      const out = new Float64Array(data.length);
      for (let row = 0; row < outer * inner; row++) {
        const start = Math.floor(row / inner) * size * inner + (row % inner);
        let largest = Number.NEGATIVE_INFINITY;
        for (let k = 0; k < size; k++) largest = Math.max(largest, data[start + k * inner]);
        let total = 0;
        for (let k = 0; k < size; k++) total += Math.exp(data[start + k * inner] - largest);
        const shift = largest + Math.log(total);
        for (let k = 0; k < size; k++) {
          const place = start + k * inner;
          out[place] = logarithm ? data[place] - shift : Math.exp(data[place] - largest) / total;
        }
      }
      return [tensorOf(out, x.shape, x.dtype)];
    },
    samples: [{ inputs: [[2, 3, 4]] }, { inputs: [[2, 3, 4]], attributes: { axis: int(1) } }],
  };
}

/** Ops that bring many elements down to one, and what works along an axis. */
export const reduceOps = /* @__PURE__ */ defineOps({
  ReduceSum: reduction({
    first: 0,
    kernel: "sum",
    step: (total, value) => total + value,
    big: { first: 0n, step: (total, value) => total + value },
  }),
  ReduceMean: reduction({ first: 0, step: (total, value) => total + value, last: (total, count) => total / count }),
  ReduceProd: reduction({
    first: 1,
    step: (total, value) => total * value,
    big: { first: 1n, step: (total, value) => total * value },
    dims: productOf,
  }),
  ReduceMax: reduction({
    first: Number.NEGATIVE_INFINITY,
    step: Math.max,
    // biome-ignore lint/complexity/useMathMinMax: Math.max does not take bigint
    big: { first: undefined, step: (total, value) => (value > total ? value : total) },
  }),
  ReduceMin: reduction({
    first: Number.POSITIVE_INFINITY,
    step: Math.min,
    // biome-ignore lint/complexity/useMathMinMax: Math.min does not take bigint
    big: { first: undefined, step: (total, value) => (value < total ? value : total) },
  }),
  ReduceL1: reduction({ first: 0, step: (total, value) => total + Math.abs(value) }),
  ReduceL2: reduction({ first: 0, step: (total, value) => total + value * value, last: Math.sqrt }),
  ReduceSumSquare: reduction({ first: 0, step: (total, value) => total + value * value }),
  ReduceLogSum: {
    ...reduction({ first: 0, step: (total, value) => total + value, last: Math.log }),
    samples: [
      {
        inputs: [
          { shape: [2, 3, 4], low: 0.1, high: 2 },
          { shape: [1], dtype: "int64", values: [1] },
        ],
      },
      { inputs: [{ shape: [2, 3], low: 0.1, high: 2 }], attributes: { keepdims: int(0) } },
    ],
  },
  ReduceLogSumExp: {
    ...reduction({ first: 0, step: (total, value) => total + value }),
    evaluate(call) {
      const x = call.inputs[0] as Tensor;
      const all = elementsOf(x);
      const largest = all.reduce((most, value) => Math.max(most, value), Number.NEGATIVE_INFINITY);
      const shift = Number.isFinite(largest) ? largest : 0;
      const shifted = tensorOf(
        all.map((value) => Math.exp(value - shift)),
        x.shape,
        "float64",
      );
      const types = [{ dtype: "float64" as const, shape: call.types[0].shape }];
      const sums = evaluateReduction(
        { ...call, inputs: [shifted, call.inputs[1]], types },
        { first: 0, step: (total, value) => total + value },
      );
      const logs = elementsOf(sums).map((sum) => Math.log(sum) + shift);
      return [tensorOf(logs, call.types[0].shape, call.types[0].dtype)];
    },
  },
  ArgMax: argumentRule((a, b) => a > b),
  ArgMin: argumentRule((a, b) => a < b),
  Softmax: softmaxRule(false),
  LogSoftmax: softmaxRule(true),
  CumSum: {
    inputs: [2, 2],
    infer: (call) => [{ dtype: inputOf(call, 0).dtype, shape: inputOf(call, 0).shape }],
    evaluate(call) {
      const [x, axes] = call.inputs as [Tensor, Tensor];
      const { outer, size, inner } = splitAt(x.shape, integersOf(axes)[0], call.op);
      const backward = intOf(call, "reverse", 0) === 1;
      const exclusive = intOf(call, "exclusive", 0) === 1;
      const data = elementsOf(x);
      const out = new Float64Array(data.length);
      for (let row = 0; row < outer * inner; row++) {
        const start = Math.floor(row / inner) * size * inner + (row % inner);
        let total = 0;
        for (let k = 0; k < size; k++) {
          const place = start + (backward ? size - 1 - k : k) * inner;
          if (exclusive) out[place] = total;
          total += data[place];
          if (!exclusive) out[place] = total;
        }
      }
      return [tensorOf(out, x.shape, x.dtype)];
    },
    samples: [
      { inputs: [[2, 4], { shape: [], dtype: "int64", values: [1] }] },
      {
        inputs: [
          { shape: [2, 4], dtype: "int64", values: [1, 1, 1, 0, 2, 3, 4, 5] },
          { shape: [], dtype: "int64", values: [0] },
        ],
        attributes: { exclusive: int(1), reverse: int(1) },
      },
    ],
  },
  TopK: {
    inputs: [2, 2],
    infer(call) {
      const { dtype, shape } = inputOf(call, 0);
      const axis = normalizeAxis(intOf(call, "axis", -1), shape.length, call.op);
      const k = knownNumbers(call.inputs[1])?.[0] ?? unknownDim;
      const out = shape.map((dim, at) => (at === axis ? k : dim));
      return [
        { dtype, shape: out },
        { dtype: "int64", shape: out },
      ];
    },
    evaluate(call) {
      const [x] = call.inputs as [Tensor, Tensor];
      const { shape } = call.types[0];
      const { axis, outer, size, inner } = splitAt(x.shape, intOf(call, "axis", -1), call.op);
      const k = shape[axis];
      const sign = intOf(call, "largest", 1) === 1 ? -1 : 1;
      const data = elementsOf(x);
      const values = new Float64Array(outer * k * inner);
      const indices = allocate("int64", values.length);
      for (let row = 0; row < outer * inner; row++) {
        const [block, column] = [Math.floor(row / inner), row % inner];
        const at = (index: number) => data[(block * size + index) * inner + column];
        const order = Array.from({ length: size }, (_, index) => index).sort((a, b) => sign * (at(a) - at(b)) || a - b);
        for (let i = 0; i < k; i++) {
          const place = (block * k + i) * inner + column;
          values[place] = at(order[i]);
          indices[place] = BigInt(order[i]);
        }
      }
      return [tensorOf(values, shape, x.dtype), fromData("int64", indices, shape)];
    },
    samples: [
      { inputs: [[2, 5], { shape: [1], dtype: "int64", values: [2] }], outputs: 2 },
      {
        inputs: [[4, 3], { shape: [1], dtype: "int64", values: [3] }],
        attributes: { axis: int(0), largest: int(0) },
        outputs: 2,
      },
    ],
  },
});

/** Reduces `axes` (default all); `keepDims` (default true) leaves them as size 1. */
export interface ReduceOp {
  (x: Tensor, axes?: readonly number[], keepDims?: boolean): Tensor;
  (x: Value, axes?: readonly number[], keepDims?: boolean): Value;
}

const reduceOp = (op: Parameters<typeof reduceRule>[0]): ReduceOp =>
  ((x: Value, axes?: readonly number[], keepDims = true) =>
    applyOne(reduceRule(op), [x, axes && int64Vector(axes)], keepDims ? {} : { keepdims: int(0) })) as ReduceOp;

function reduceRule(
  op:
    | "ReduceSum"
    | "ReduceMean"
    | "ReduceMax"
    | "ReduceMin"
    | "ReduceProd"
    | "ReduceL1"
    | "ReduceL2"
    | "ReduceSumSquare"
    | "ReduceLogSum"
    | "ReduceLogSumExp",
) {
  return ruleOf(reduceOps, op);
}

export const reduceSum: ReduceOp = reduceOp("ReduceSum");
export const reduceMean: ReduceOp = reduceOp("ReduceMean");
export const reduceMax: ReduceOp = reduceOp("ReduceMax");
export const reduceMin: ReduceOp = reduceOp("ReduceMin");
export const reduceProd: ReduceOp = reduceOp("ReduceProd");
/** Sum of magnitudes */
export const reduceL1: ReduceOp = reduceOp("ReduceL1");
/** √ of the sum of squares */
export const reduceL2: ReduceOp = reduceOp("ReduceL2");
export const reduceSumSquare: ReduceOp = reduceOp("ReduceSumSquare");

/** log Σ x */
export const reduceLogSum: ReduceOp = reduceOp("ReduceLogSum");
/** log Σ e^x */
export const reduceLogSumExp: ReduceOp = reduceOp("ReduceLogSumExp");

/** Index of the largest element along `axis`; int64. */
export function argMax(x: Value, axis: number, keepDims = true): Value {
  return applyOne(ruleOf(reduceOps, "ArgMax"), [x], { axis: int(axis), ...(keepDims ? {} : { keepdims: int(0) }) });
}

/** exp(x) / Σ exp(x) along `axis`, default the last */
export function softmax(x: Tensor, axis?: number): Tensor;
export function softmax(x: Value, axis?: number): Value;
export function softmax(x: Value, axis = -1): Value {
  return applyOne(ruleOf(reduceOps, "Softmax"), [x], { axis: int(axis) });
}

/** log of softmax. No WebGPU kernel. */
export function logSoftmax(x: Tensor, axis?: number): Tensor;
export function logSoftmax(x: Value, axis?: number): Value;
export function logSoftmax(x: Value, axis = -1): Value {
  return applyOne(ruleOf(reduceOps, "LogSoftmax"), [x], { axis: int(axis) });
}

/** Running sum along `axis` */
export function cumSum(x: Value, axis: number, { exclusive = false, reverse = false } = {}): Value {
  const at = fromData("int64", BigInt64Array.of(BigInt(axis)), []);
  return applyOne(ruleOf(reduceOps, "CumSum"), [x, at], {
    ...(exclusive ? { exclusive: int(1) } : {}),
    ...(reverse ? { reverse: int(1) } : {}),
  });
}

/** The `k` largest (or smallest) along `axis`, sorted, with their indices. */
export function topK(
  x: Value,
  k: number | Value,
  { axis = -1, largest = true }: { axis?: number; largest?: boolean } = {},
): { values: Value; indices: Value } {
  const [values, indices] = apply(ruleOf(reduceOps, "TopK"), [x, typeof k === "number" ? int64Vector([k]) : k], {
    attributes: { axis: int(axis), largest: int(largest) },
    outputs: 2,
  });
  return { values, indices };
}
