import { elementCount, type Tensor } from "@loomweight/tensor";
import { float, int, intOf } from "../attributes.ts";
import { broadcast } from "../dims.ts";
import { allocateResult } from "../evaluate/kernel-memory.ts";
import { addProductInKernelMemory, multiplyInto } from "../evaluate/multiply.ts";
import { elementsOf, tensorOf } from "../evaluate/numbers.ts";
import { broadcastStride, walkRows } from "../evaluate/walk.ts";
import { applyOne, type ConstantCall, defineOps, type OpCall, ruleOf } from "../op.ts";
import type { Dim, Operand, Value } from "../value.ts";
import { badShape, inputOf, requireFloat, sameDtype } from "./same-dtype.ts";
import { attributeNumber } from "./unary.ts";

function matMulShape(call: OpCall): Dim[] {
  const [a, b] = [inputOf(call, 0).shape, inputOf(call, 1).shape];
  if (a.length === 0 || b.length === 0) throw badShape(call, "a scalar cannot be multiplied as a matrix", "Use `mul`.");
  const left = a.length === 1 ? [1, ...a] : a;
  const right = b.length === 1 ? [...b, 1] : b;
  const [inner, other] = [left[left.length - 1], right[right.length - 2]];
  if (typeof inner === "number" && typeof other === "number" && inner !== other) {
    throw badShape(call, `[${a}] x [${b}]: ${inner} columns do not meet ${other} rows`);
  }
  const batch = broadcast([left.slice(0, -2), right.slice(0, -2)], call.op);
  return [
    ...batch,
    ...(a.length === 1 ? [] : [left[left.length - 2]]),
    ...(b.length === 1 ? [] : [right[right.length - 1]]),
  ];
}

function evaluateMatMul(call: ConstantCall): Tensor {
  const [a, b] = call.inputs as [Tensor, Tensor];
  const { dtype, shape } = call.types[0];
  const [left, right] = [
    a.shape.length === 1 ? [1, ...a.shape] : a.shape,
    b.shape.length === 1 ? [...b.shape, 1] : b.shape,
  ];
  const m = left[left.length - 2];
  const k = left[left.length - 1];
  const n = right[right.length - 1];
  const [x, y] = [elementsOf(a), elementsOf(b)];
  const out = new Float64Array(elementCount(shape));
  const [leftBatch, rightBatch] = [left.slice(0, -2), right.slice(0, -2)];
  if (elementCount(rightBatch) === 1) {
    // One matrix on the right: all rows on the left are one tall matrix.
    multiplyInto(out, x, y, { out: 0, a: 0, b: 0 }, { m: elementCount(leftBatch) * m, n, k });
    return tensorOf(out, shape, dtype);
  }
  const batch = broadcast([leftBatch, rightBatch], call.op) as number[];
  const strides = [broadcastStride(leftBatch, batch), broadcastStride(rightBatch, batch)];
  walkRows(batch, strides, (written, count, [at, bt], [aStep, bStep]) => {
    for (let i = 0; i < count; i++) {
      const places = { out: (written + i) * m * n, a: (at + i * aStep) * m * k, b: (bt + i * bStep) * k * n };
      multiplyInto(out, x, y, places, { m, n, k });
    }
  });
  return tensorOf(out, shape, dtype);
}

function sameShape(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((size, axis) => size === b[axis]);
}

/** A matrix of a Gemm in row-major order, transposed where the attribute says so. */
function oriented(tensor: Tensor, transposed: boolean): Float64Array {
  if (!transposed) return elementsOf(tensor);
  const { shape, stride } = tensor;
  return elementsOf({ ...tensor, shape: [shape[1], shape[0]], stride: [stride[1], stride[0]] });
}

/** Matrix products, summed in float64 and rounded once. */
export const matmulOps = /* @__PURE__ */ defineOps({
  MatMul: {
    inputs: [2, 2],
    infer: (call) => [{ dtype: sameDtype(call), shape: matMulShape(call) }],
    evaluate: (call) => [evaluateMatMul(call)],
    samples: [
      {
        inputs: [
          [2, 3],
          [3, 4],
        ],
      },
      {
        inputs: [
          [2, 2, 3],
          [3, 4],
        ],
      },
      {
        inputs: [
          [2, 1, 2, 3],
          [5, 3, 4],
        ],
      },
      { inputs: [[3], [3, 4]] },
      { inputs: [[2, 3], [3]] },
      {
        inputs: [
          [40, 33],
          [33, 65],
        ],
      },
    ],
  },
  Gemm: {
    inputs: [2, 3],
    infer(call) {
      requireFloat(call, 0);
      const [a, b] = [inputOf(call, 0).shape, inputOf(call, 1).shape];
      if (a.length !== 2 || b.length !== 2) throw badShape(call, `[${a}] and [${b}] are not two matrices`);
      const [rows, inner] = intOf(call, "transA", 0) === 1 ? [a[1], a[0]] : a;
      const [other, columns] = intOf(call, "transB", 0) === 1 ? [b[1], b[0]] : b;
      if (typeof inner === "number" && typeof other === "number" && inner !== other) {
        throw badShape(call, `[${a}] x [${b}]: inner sizes ${inner} and ${other} differ`);
      }
      const shape = [rows, columns];
      if (call.inputs[2] !== undefined) broadcast([shape, inputOf(call, 2).shape], call.op);
      return [{ dtype: sameDtype(call), shape }];
    },
    evaluate(call) {
      const [a, b, c] = call.inputs as [Tensor, Tensor, Tensor | undefined];
      const { dtype, shape } = call.types[0];
      const [transA, transB] = [intOf(call, "transA", 0) === 1, intOf(call, "transB", 0) === 1];
      const [alpha, beta] = [attributeNumber(call, "alpha", 1), attributeNumber(call, "beta", 1)];
      const [m, n] = shape;
      const k = a.shape[transA ? 0 : 1];
      const [x, y] = [oriented(a, transA), oriented(b, transB)];
      const out = allocateResult(m * n);
      const added = alpha === 1 && beta === 1 && c !== undefined && sameShape(c.shape, shape);
      if (added) {
        // A weight and its low-rank update: the product is added where the weight's copy lies.
        out.set(elementsOf(c));
        if (addProductInKernelMemory(out, x, y, { m, n, k })) return [tensorOf(out, shape, dtype)];
      }
      multiplyInto(out, x, y, { out: 0, a: 0, b: 0 }, { m, n, k });
      if (alpha !== 1) for (let i = 0; i < out.length; i++) out[i] *= alpha;
      if (c !== undefined) {
        const shift = elementsOf(c);
        walkRows(shape, [broadcastStride(c.shape, shape)], (o, count, [at], [step]) => {
          for (let i = 0; i < count; i++) out[o + i] += beta * shift[at + i * step];
        });
      }
      return [tensorOf(out, shape, dtype)];
    },
    samples: [
      { inputs: [[2, 3], [3, 4], [4]] },
      {
        inputs: [
          [3, 2],
          [4, 3],
          [2, 1],
        ],
        attributes: { transA: int(1), transB: int(1), alpha: float(0.5), beta: float(2) },
      },
      {
        inputs: [
          [2, 3],
          [3, 4],
        ],
      },
    ],
  },
});

/** Matrix product over the last two axes, the others broadcast: [.., m, k] x [.., k, n] */
export function matMul(a: Tensor, b: Tensor): Tensor;
export function matMul(a: Value, b: Value): Value;
export function matMul(a: Value, b: Value): Value {
  return applyOne(ruleOf(matmulOps, "MatMul"), [a, b]);
}

export interface GemmOptions {
  readonly transA?: boolean;
  readonly transB?: boolean;
  /** Default 1; held as float32. */
  readonly alpha?: number;
  /** Default 1; held as float32. */
  readonly beta?: number;
}

/** alpha · A B + beta · C for matrices; a linear layer with its weight as stored [out, in] is `transB`. */
export function gemm(a: Tensor, b: Tensor, c?: Tensor | number, options?: GemmOptions): Tensor;
export function gemm(a: Value, b: Value, c?: Operand, options?: GemmOptions): Value;
export function gemm(a: Value, b: Value, c?: Operand, options: GemmOptions = {}): Value {
  const { transA = false, transB = false, alpha = 1, beta = 1 } = options;
  return applyOne(ruleOf(matmulOps, "Gemm"), [a, b, c], {
    ...(transA ? { transA: int(1) } : {}),
    ...(transB ? { transB: int(1) } : {}),
    ...(alpha === 1 ? {} : { alpha: float(alpha) }),
    ...(beta === 1 ? {} : { beta: float(beta) }),
  });
}
