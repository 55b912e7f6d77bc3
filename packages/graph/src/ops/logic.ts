import { allocate, contiguousData, type DType, elementCount, fromData, type Tensor } from "@loomweight/tensor";
import { int, intOf } from "../attributes.ts";
import { broadcast } from "../dims.ts";
import { castTensor, elementsOf, isBig } from "../evaluate/numbers.ts";
import { broadcastStride, walkRows } from "../evaluate/walk.ts";
import { dtypeOfOnnx, onnxOfDtype } from "../onnx-dtype.ts";
import { applyOne, defineOps, knownElements, type OpRule, ruleOf, type Sample } from "../op.ts";
import type { Operand, Value } from "../value.ts";
import { inputOf, requireDtype, requireFloat, sameDtype } from "./same-dtype.ts";

type Comparable = number | bigint;

function comparison(holds: (a: Comparable, b: Comparable) => boolean, logical: boolean): OpRule {
  return {
    inputs: [2, 2],
    infer(call) {
      sameDtype(call);
      if (logical) requireDtype(call, 0, ["bool"]);
      return [{ dtype: "bool", shape: broadcast([inputOf(call, 0).shape, inputOf(call, 1).shape], call.op) }];
    },
    evaluate(call) {
      const [a, b] = call.inputs as [Tensor, Tensor];
      const { shape } = call.types[0];
      const [x, y] = [comparable(a), comparable(b)];
      const out = allocate("bool", elementCount(shape));
      walkRows(shape, [broadcastStride(a.shape, shape), broadcastStride(b.shape, shape)], (o, count, at, step) => {
        for (let i = 0; i < count; i++) out[o + i] = holds(x[at[0] + i * step[0]], y[at[1] + i * step[1]]) ? 1 : 0;
      });
      return [fromData("bool", out, shape)];
    },
    samples: logical ? logicalSamples : comparisonSamples,
  };
}

function comparable(tensor: Tensor): ArrayLike<Comparable> {
  if (tensor.dtype === "string") return contiguousData(tensor) as unknown as ArrayLike<Comparable>; // === works on both
  return isBig(tensor.dtype) ? (contiguousData(tensor) as BigInt64Array) : elementsOf(tensor);
}

const comparisonSamples: readonly Sample[] = [
  {
    inputs: [
      { shape: [4], values: [1, 2, 2, -1] },
      { shape: [], values: [2] },
    ],
  },
  {
    inputs: [
      { shape: [2, 1], dtype: "int64", values: [1, 2] },
      { shape: [3], dtype: "int64", values: [0, 1, 2] },
    ],
    constants: [],
  },
];
const logicalSamples: readonly Sample[] = [
  {
    inputs: [
      { shape: [2, 1], dtype: "bool", values: [0, 1] },
      { shape: [2], dtype: "bool", values: [0, 1] },
    ],
  },
];

/** Comparisons and logic: bool out, broadcast. */
export const logicOps = /* @__PURE__ */ defineOps({
  Equal: comparison((a, b) => a === b, false),
  Greater: comparison((a, b) => a > b, false),
  GreaterOrEqual: comparison((a, b) => a >= b, false),
  Less: comparison((a, b) => a < b, false),
  LessOrEqual: comparison((a, b) => a <= b, false),
  And: comparison((a, b) => a !== 0 && b !== 0, true),
  Or: comparison((a, b) => a !== 0 || b !== 0, true),
  Xor: comparison((a, b) => (a !== 0) !== (b !== 0), true),
  Not: {
    inputs: [1, 1],
    infer: (call) => [{ dtype: requireDtype(call, 0, ["bool"]), shape: inputOf(call, 0).shape }],
    evaluate: (call) => {
      const x = call.inputs[0] as Tensor<"bool">;
      return [
        fromData(
          "bool",
          contiguousData(x).map((code) => (code === 0 ? 1 : 0)),
          x.shape,
        ),
      ];
    },
    samples: [{ inputs: [{ shape: [2], dtype: "bool", values: [0, 1] }] }],
  },
  IsNaN: {
    inputs: [1, 1],
    infer(call) {
      requireFloat(call, 0);
      return [{ dtype: "bool", shape: inputOf(call, 0).shape }];
    },
    evaluate: (call) => {
      const x = call.inputs[0] as Tensor;
      return [
        fromData(
          "bool",
          Uint8Array.from(elementsOf(x), (value) => (Number.isNaN(value) ? 1 : 0)),
          x.shape,
        ),
      ];
    },
    samples: [{ inputs: [{ shape: [3], values: [1, Number.NaN, Number.POSITIVE_INFINITY] }] }],
  },
  Where: {
    inputs: [3, 3],
    infer(call) {
      requireDtype(call, 0, ["bool"]);
      const shapes = call.inputs.map((_, index) => inputOf(call, index).shape);
      return [{ dtype: sameDtype(call, [1, 2]), shape: broadcast(shapes, call.op) }];
    },
    evaluate(call) {
      const [condition, a, b] = call.inputs as [Tensor<"bool">, Tensor, Tensor];
      const { dtype, shape } = call.types[0];
      const out = allocate(dtype, elementCount(shape)) as unknown as number[];
      const [c, x, y] = [condition, a, b].map((each) => contiguousData(each)) as unknown as number[][];
      const strides = [condition, a, b].map((each) => broadcastStride(each.shape, shape));
      walkRows(shape, strides, (o, count, at, step) => {
        for (let i = 0; i < count; i++) {
          out[o + i] = c[at[0] + i * step[0]] !== 0 ? x[at[1] + i * step[1]] : y[at[2] + i * step[2]];
        }
      });
      return [fromData<DType>(dtype, out as never, shape)];
    },
    samples: [
      { inputs: [{ shape: [2, 1], dtype: "bool", values: [0, 1] }, [2, 3], [3]] },
      { inputs: [{ shape: [3], dtype: "bool", values: [0, 1, 0] }, [], [2, 3]] },
    ],
  },
  Cast: {
    inputs: [1, 1],
    infer(call) {
      const { shape } = inputOf(call, 0);
      const dtype = dtypeOfOnnx(intOf(call, "to", 0), call.name);
      const known = dtype === "int64" || dtype === "int32" ? knownElements(call.inputs[0]) : undefined;
      return [{ dtype, shape, known }];
    },
    evaluate(call) {
      const { dtype } = call.types[0];
      return [castTensor(call.inputs[0] as Tensor, dtype, intOf(call, "saturate", 1) === 1)];
    },
    samples: [
      { inputs: [{ shape: [4], values: [-1.7, 0, 2.5, 3.2] }], attributes: { to: int(7) } },
      { inputs: [{ shape: [4], values: [-1.7, 0, 2.5, 3.2] }], attributes: { to: int(9) } },
      { inputs: [{ shape: [3], dtype: "int64", values: [1, 0, -7] }], attributes: { to: int(1) } },
      { inputs: [{ shape: [2], dtype: "bool", values: [1, 0] }], attributes: { to: int(1) } },
      { inputs: [[3]], attributes: { to: int(10) } },
      { inputs: [[3]], attributes: { to: int(11) } },
    ],
  },
});

/** A comparison of two operands, broadcast; bool. Two tensors are compared at once. */
export interface ComparisonOp {
  (a: Tensor, b: Tensor | number): Tensor<"bool">;
  (a: Operand, b: Operand): Value;
}

const comparisonOp = (op: keyof typeof logicOps): ComparisonOp =>
  ((a: Operand, b: Operand) => applyOne(ruleOf(logicOps, op), [a, b])) as ComparisonOp;

export const equal: ComparisonOp = comparisonOp("Equal");
export const greater: ComparisonOp = comparisonOp("Greater");
export const greaterOrEqual: ComparisonOp = comparisonOp("GreaterOrEqual");
export const less: ComparisonOp = comparisonOp("Less");
export const lessOrEqual: ComparisonOp = comparisonOp("LessOrEqual");
export const and: ComparisonOp = comparisonOp("And");
export const or: ComparisonOp = comparisonOp("Or");
export const xor: ComparisonOp = comparisonOp("Xor");

export function not(x: Tensor): Tensor<"bool">;
export function not(x: Value): Value;
export function not(x: Value): Value {
  return applyOne(ruleOf(logicOps, "Not"), [x]);
}

function isNaNOp(x: Tensor): Tensor<"bool">;
function isNaNOp(x: Value): Value;
function isNaNOp(x: Value): Value {
  return applyOne(ruleOf(logicOps, "IsNaN"), [x]);
}

/** `a` where `condition` holds, `b` elsewhere; all broadcast */
export function where(condition: Tensor, a: Tensor | number, b: Tensor | number): Tensor;
export function where(condition: Value, a: Operand, b: Operand): Value;
export function where(condition: Value, a: Operand, b: Operand): Value {
  return applyOne(ruleOf(logicOps, "Where"), [condition, a, b]);
}

/** Another dtype: floats to integers truncate, to narrower floats round to nearest even. No node where nothing changes. */
export function cast<D extends DType>(x: Tensor, dtype: D): Tensor<D>;
export function cast(x: Value, dtype: DType): Value;
export function cast(x: Value, dtype: DType): Value {
  if (x.dtype === dtype) return x;
  return applyOne(ruleOf(logicOps, "Cast"), [x], { to: int(onnxOfDtype(dtype)) });
}

export {
  /** Where `x` is not a number; bool. No WebGPU kernel. */
  isNaNOp as isNaN,
};
