import { elementCount, fromData, type Tensor } from "@loomweight/tensor";
import { float, floatOf, int, intOf } from "../attributes.ts";
import { divideDims, multiplyDims, normalizeAxis, productOf, unknownDim } from "../dims.ts";
import { elementsOf, tensorOf } from "../evaluate/numbers.ts";
import { type ConstantCall, defineOps, integersOf, type OpRule } from "../op.ts";
import type { Dim } from "../value.ts";
import { badShape, inputOf, requireDtype, requireFloat, sameDtype } from "./same-dtype.ts";
import { requireIndices } from "./shape.ts";

/** The type of the first input. */
const same: Pick<OpRule, "infer"> = {
  infer(call) {
    const { dtype, shape } = inputOf(call, 0);
    return [{ dtype, shape }];
  },
};

interface Rows {
  readonly size: number;
  readonly inner: number;
  readonly outer: number;
}

function rowsOf(call: ConstantCall, shape: readonly number[], given: number): Rows {
  const axis = normalizeAxis(given, shape.length, call.op);
  return {
    size: shape[axis] ?? 1,
    inner: elementCount(shape.slice(axis + 1)),
    outer: elementCount(shape.slice(0, axis)),
  };
}

/** Ops whose results depend on which elements there are, and some along an axis. */
export const selectionOps = /* @__PURE__ */ defineOps({
  Compress: {
    inputs: [2, 2],
    infer(call) {
      const { dtype, shape } = inputOf(call, 0);
      requireDtype(call, 1, ["bool"]);
      const chosen = inputOf(call, 1).tensor;
      const count: Dim = chosen === undefined ? unknownDim : integersOf(chosen).filter((each) => each !== 0).length;
      if (call.attributes.axis === undefined) return [{ dtype, shape: [count] }];
      const axis = normalizeAxis(intOf(call, "axis", 0), shape.length, call.op);
      return [{ dtype, shape: shape.map((dim, at) => (at === axis ? count : dim)) }];
    },
    samples: [
      {
        inputs: [[3, 2], { shape: [3], dtype: "bool", values: [0, 1, 1] }],
        attributes: { axis: int(0) },
        constants: [1],
      },
    ],
  },
  NonZero: {
    inputs: [1, 1],
    infer(call) {
      const { shape, tensor } = inputOf(call, 0);
      const count = tensor === undefined ? unknownDim : elementsOf(tensor).filter((each) => each !== 0).length;
      return [{ dtype: "int64", shape: [Math.max(1, shape.length), count] }];
    },
    samples: [],
  },
  Unique: {
    inputs: [1, 1],
    infer(call) {
      const { dtype, shape } = inputOf(call, 0);
      const axis =
        call.attributes.axis === undefined ? undefined : normalizeAxis(intOf(call, "axis", 0), shape.length, call.op);
      const y = axis === undefined ? [unknownDim] : shape.map((dim, at) => (at === axis ? unknownDim : dim));
      const index = (size: Dim) => ({ dtype: "int64" as const, shape: [size] });
      const inverse = axis === undefined ? productOf(shape) : shape[axis];
      return [{ dtype, shape: y }, index(unknownDim), index(inverse), index(unknownDim)].slice(
        0,
        Math.max(1, call.outputs),
      );
    },
    samples: [],
  },
  ReverseSequence: {
    ...same,
    inputs: [2, 2],
    samples: [
      {
        inputs: [[3, 2], { shape: [2], dtype: "int64", values: [3, 2] }],
        attributes: { time_axis: int(0), batch_axis: int(1) },
      },
    ],
  },
  /** The name of ScatterElements until opset 11. */
  Scatter: {
    inputs: [3, 3],
    infer(call) {
      requireIndices(call, 1);
      return [{ dtype: sameDtype(call, [0, 2]), shape: inputOf(call, 0).shape }];
    },
    samples: [],
  },
  /** Opset 24: an update written into a cache. */
  TensorScatter: {
    inputs: [2, 3],
    infer: (call) => [{ dtype: sameDtype(call, [0, 1]), shape: inputOf(call, 0).shape }],
    samples: [],
  },
  Hardmax: {
    inputs: [1, 1],
    infer(call) {
      requireFloat(call, 0);
      const { dtype, shape } = inputOf(call, 0);
      normalizeAxis(intOf(call, "axis", call.opset < 13 ? 1 : -1), shape.length, call.op);
      return [{ dtype, shape }];
    },
    evaluate(call) {
      const x = call.inputs[0] as Tensor;
      const old = call.opset < 13;
      const along = rowsOf(call, x.shape, intOf(call, "axis", old ? 1 : -1));
      const { size, inner, outer } = old ? { ...along, size: along.size * along.inner, inner: 1 } : along;
      const data = elementsOf(x);
      const out = new Float64Array(data.length);
      for (let row = 0; row < outer * inner; row++) {
        const start = Math.floor(row / inner) * size * inner + (row % inner);
        let best = 0;
        for (let k = 1; k < size; k++) if (data[start + k * inner] > data[start + best * inner]) best = k;
        if (size > 0) out[start + best * inner] = 1;
      }
      return [tensorOf(out, x.shape, x.dtype)];
    },
    samples: [{ inputs: [[2, 3, 4]] }, { inputs: [[2, 3, 4]], attributes: { axis: int(1) } }],
  },
  Shrink: {
    ...same,
    inputs: [1, 1],
    evaluate(call) {
      const x = call.inputs[0] as Tensor;
      const [limit, shift] = [Math.fround(floatOf(call, "lambd", 0.5)), Math.fround(floatOf(call, "bias", 0))];
      const out = elementsOf(x).map((value) => (value < -limit ? value + shift : value > limit ? value - shift : 0));
      return [tensorOf(out, x.shape, x.dtype)];
    },
    samples: [{ inputs: [[2, 5]], attributes: { lambd: float(0.7), bias: float(0.2) } }],
  },
  IsInf: {
    inputs: [1, 1],
    infer(call) {
      requireFloat(call, 0);
      return [{ dtype: "bool", shape: inputOf(call, 0).shape }];
    },
    evaluate(call) {
      const x = call.inputs[0] as Tensor;
      const [up, down] = [intOf(call, "detect_positive", 1) === 1, intOf(call, "detect_negative", 1) === 1];
      const codes = Uint8Array.from(elementsOf(x), (value) =>
        (value === Number.POSITIVE_INFINITY && up) || (value === Number.NEGATIVE_INFINITY && down) ? 1 : 0,
      );
      return [fromData("bool", codes, x.shape)];
    },
    samples: [{ inputs: [{ shape: [3], values: [1, Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY] }] }],
  },
  /** Opset 26. */
  CumProd: { ...same, inputs: [2, 2], samples: [] },
  MeanVarianceNormalization: {
    ...same,
    inputs: [1, 1],
    samples: [{ inputs: [[2, 3, 4, 4]] }],
  },
  Det: {
    inputs: [1, 1],
    infer(call) {
      requireFloat(call, 0);
      const { dtype, shape } = inputOf(call, 0);
      if (shape.length < 2) throw badShape(call, `[${shape}] is no matrix`);
      return [{ dtype, shape: shape.slice(0, -2) }];
    },
    samples: [{ inputs: [[3, 3]] }, { inputs: [[2, 2, 2]] }],
  },
  /** Opset 28: a · sigmoid(alpha · a) · b. */
  SwiGLU: { ...same, inputs: [2, 2], samples: [] },
  /** Opset 27. */
  CausalConvWithState: {
    inputs: [2, 4],
    infer(call) {
      const { dtype, shape } = inputOf(call, 0);
      const kernel = inputOf(call, 1).shape[2];
      const length: Dim = typeof kernel === "number" ? kernel - 1 : unknownDim;
      return [
        { dtype, shape },
        { dtype, shape: [shape[0], shape[1], length] },
      ].slice(0, Math.max(1, call.outputs));
    },
    samples: [],
  },
  /** Opset 27. */
  LinearAttention: {
    inputs: [3, 6],
    infer(call) {
      const [query, key, value] = [0, 1, 2].map((index) => inputOf(call, index));
      const [heads, kvHeads] = [intOf(call, "q_num_heads", 1), intOf(call, "kv_num_heads", 1)];
      const width = divideDims(value.shape[2], kvHeads);
      const present = [query.shape[0], kvHeads, divideDims(key.shape[2], kvHeads), width];
      return [
        { dtype: query.dtype, shape: [query.shape[0], query.shape[1], multiplyDims(heads, width)] },
        { dtype: call.inputs[3]?.dtype ?? query.dtype, shape: present },
      ].slice(0, Math.max(1, call.outputs));
    },
    samples: [],
  },
  /** ONNX's own, opset 23: x, cos and sin caches, positions. */
});
